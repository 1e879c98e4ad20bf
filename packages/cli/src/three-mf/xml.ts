import { MillraceError } from '@millrace/base';
import { SaxesParser } from 'saxes';
import { MAX_XML_DEPTH, MAX_XML_ELEMENTS } from './format.ts';

export interface Element {
  readonly namespace: string;
  readonly name: string;
  /** Attributes without a namespace. */
  readonly attributes: ReadonlyMap<string, string>;
  readonly children: Element[];
  text: string;
}

/**
 * Reads a small XML document: well-formed, with namespaces, and without a document type, so that it has no entities but
 * those of XML itself.
 * @param what for messages
 * @throws {MillraceError} E_PACKAGE
 */
export function parseXml(bytes: Uint8Array, what: string): Element {
  const open: Element[] = [];
  let root: Element | undefined;
  let count = 0;
  const parser = new SaxesParser({ xmlns: true });
  parser.on('error', (cause) => {
    throw refusal(what, 'it is not well-formed', cause);
  });
  parser.on('doctype', () => {
    throw refusal(what, 'it has a document type');
  });
  parser.on('opentag', ({ uri, local, attributes }) => {
    count++;
    if (count > MAX_XML_ELEMENTS || open.length >= MAX_XML_DEPTH) throw refusal(what, 'it has too many elements');
    const own = Object.values(attributes).filter((attribute) => attribute.uri === '');
    const element: Element = {
      namespace: uri,
      name: local,
      attributes: new Map(own.map((attribute) => [attribute.local, attribute.value])),
      children: [],
      text: '',
    };
    open.at(-1)?.children.push(element);
    root ??= element;
    open.push(element);
  });
  const onText = (text: string) => {
    const element = open.at(-1);
    if (element !== undefined) element.text += text;
  };
  parser.on('text', onText);
  parser.on('cdata', onText);
  parser.on('closetag', () => void open.pop());
  try {
    parser.write(new TextDecoder('utf-8', { fatal: true }).decode(bytes)).close();
  } catch (cause) {
    throw cause instanceof MillraceError ? cause : refusal(what, 'it is not UTF-8', cause);
  }
  if (root === undefined) throw refusal(what, 'it is empty');
  return root;
}

export const childrenOf = ({ children }: Element, namespace: string, name: string): Element[] =>
  children.filter((child) => child.namespace === namespace && child.name === name);

function refusal(what: string, why: string, cause?: unknown): MillraceError {
  return new MillraceError('E_PACKAGE', `cannot read ${what} of the 3MF file: ${why}`, { cause });
}
