/** Creation code of MillraceAnchor as hex. Needs solc. @throws with what the compiler said */
export function compile(source: string): Promise<string>;
