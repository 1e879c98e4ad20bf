import type { Bytes } from '@millrace/base';
import type { Cell, Cells, NewCell } from '@millrace/stores';

/** All cells with their bodies, in the order of their indexes. */
export async function allCells(cells: Cells): Promise<(Cell & { readonly index: Bytes })[]> {
  const all: (Cell & { readonly index: Bytes })[] = [];
  for await (const { index } of cells.outline()) {
    const cell = await cells.get(index);
    if (cell !== undefined) all.push({ index, ...cell });
  }
  return all;
}

/** Overwrites the cell at an index, as damage or an attacker would. */
export async function overwriteCell(cells: Cells, cell: NewCell): Promise<void> {
  await cells.remove([cell.index]);
  await cells.create(cell.epoch);
  await cells.put([cell]);
  if ((await cells.get(cell.index)) === undefined)
    throw new Error(`epoch ${cell.epoch} was dropped and takes no cells`);
}
