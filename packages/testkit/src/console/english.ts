import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Page } from 'playwright-core';

const web = fileURLToPath(new URL('../../../console/src/web/', import.meta.url));

/** Texts in quotes, and the parts of templates between their values. */
const literals = /'((?:[^'\\\n]|\\.)*)'|`((?:[^`\\]|\\.)*)`/g;

function textsIn(source: string): string[] {
  return [...source.matchAll(literals)].flatMap(([, plain, template]) =>
    plain === undefined ? (template ?? '').split(/\$\{[^}]*\}/) : [plain.replace(/\\(.)/g, '$1')],
  );
}

/** The console's English texts that are no German ones, too, from its dictionaries. */
export function englishTexts(): ReadonlySet<string> {
  const [english, german] = [new Set<string>(), new Set<string>()];
  const add = (to: Set<string>, source: string) => {
    for (const text of textsIn(source)) to.add(text.trim());
  };
  for (const name of readdirSync(web, { recursive: true, encoding: 'utf8' })) {
    if (!/words(-en|-de)\.ts$|-words\.ts$/.test(name)) continue;
    const source = readFileSync(join(web, name), 'utf8');
    if (name.endsWith('words-en.ts')) add(english, source);
    else if (name.endsWith('words-de.ts')) add(german, source);
    else {
      // English first, then German.
      const [before = '', after = ''] = source.split(/^const de\b|\bdictionary\(en, \{/m);
      add(english, before);
      add(german, after);
    }
  }
  return new Set([...english].filter((text) => /[a-z]{2}/i.test(text) && !german.has(text)));
}

/** Texts that a page shows in German but should not: its own English ones, outside elements that are marked as English. */
export async function englishOn(page: Page, english: ReadonlySet<string>): Promise<string[]> {
  const shown = (await page.evaluate(`(() => {
    const found = [document.title.split(' · ')[0]];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
      const element = node.nodeType === Node.TEXT_NODE ? node.parentElement : node;
      if (element.closest('[lang=en], script, style, .mono, header select')) continue;
      if (node.nodeType === Node.TEXT_NODE) found.push(node.data);
      else for (const name of ['aria-label', 'title', 'placeholder', 'alt']) found.push(element.getAttribute(name) ?? '');
    }
    return found.map((text) => text.trim()).filter((text) => text !== '');
  })()`)) as string[];
  // Parts of sentences only where they are long enough to be no accident.
  const sentences = [...english].filter((text) => text.length >= 12 && text.includes(' '));
  return shown.filter((text) => english.has(text) || sentences.some((part) => text.includes(part)));
}
