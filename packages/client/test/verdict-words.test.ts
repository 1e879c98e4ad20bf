import { describe, expect, it } from 'vitest';
import { verdictEnglish, verdictGerman } from '../src/index.ts';

/** Arguments that are recognised in a sentence. A kind is one of two words, and lists have two items. */
const given = (name: string) =>
  Array.from({ length: 8 }, (_, n) => {
    if (['group', 'openGroup'].includes(name) && n === 0) return 'site';
    if (['joined', 'inTurn'].includes(name)) return ['value 0', 'value 1'];
    return `value ${n}`;
  });

describe('the sentences of a verdict', () => {
  it('say the same in both languages, with every value', () => {
    const names = Object.keys(verdictEnglish) as (keyof typeof verdictEnglish)[];
    expect(Object.keys(verdictGerman).sort()).toEqual([...names].sort());
    for (const name of names) {
      const [english, german] = [verdictEnglish, verdictGerman].map((words) => {
        const entry = words[name] as string | ((...values: unknown[]) => string);
        return typeof entry === 'string' ? entry : entry(...given(name));
      });
      const valuesIn = (text = '') => (text.match(/value \d/g) ?? []).sort();
      expect([name, valuesIn(german)]).toEqual([name, valuesIn(english)]);
      if (/ /.test(english?.replaceAll(/value \d/g, '').trim() ?? ''))
        expect([name, german]).not.toEqual([name, english]);
      expect(german).not.toMatch(/\b(the|and|signed|with|which|by)\b/);
    }
  });

  it('give unknown words of a newer ledger as they are', () => {
    expect([verdictGerman.term('completed'), verdictGerman.term('toString'), verdictGerman.term('new')]).toEqual([
      ...['fertiggestellt', 'toString', 'new'],
    ]);
  });
});
