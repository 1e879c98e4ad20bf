import { render } from 'preact';
import { App } from './app.tsx';
import { takeAnswer } from './company-answer.ts';
import { followEvents } from './events.ts';

const root = document.getElementById('app');
takeAnswer();
if (root !== null) {
  root.replaceChildren();
  render(<App />, root);
  followEvents();
}
