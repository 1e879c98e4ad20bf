import { render } from 'preact';
import { App } from './app.tsx';
import { followEvents } from './events.ts';

const root = document.getElementById('app');
if (root !== null) {
  root.replaceChildren();
  render(<App />, root);
  followEvents();
}
