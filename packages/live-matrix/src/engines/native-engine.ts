import { MillraceError } from '@millrace/base/core';
import { generatorColumns } from '../code/generator.ts';
import { type Block, totalParityBytes } from '../code/layout.ts';
import type { HintTable, TableBuild } from '../table/hint-table.ts';
import { partFull } from '../table/ts-table.ts';
import type { HashEngine, HashKey, LaterCalls } from './engine.ts';
import { loadBlock } from './keccak.ts';
import type { TableArguments } from './native-addon.ts';
import { ownAddon } from './native-load.ts';

/** Instruction sets of the native engine that run on this processor, fastest first. Empty if the addon is not built. */
export function nativeInstructionSets(): readonly string[] {
  const { addon } = ownAddon();
  return addon === undefined ? [] : addon.kernelNames().flatMap(([name]) => (name === '' ? [] : [name]));
}

/**
 * Estimated current clock of this core, cycles per second, from a chain of additions. Undefined without the native
 * engine.
 */
export function estimateClock(): number | undefined {
  const rate = ownAddon().addon?.estimateClock();
  return rate === undefined || rate === 0 ? undefined : rate;
}

/**
 * The engine in C, called through N-API.
 * @param instructionSet forces one of `nativeInstructionSets()`; default: the fastest
 * @throws {MillraceError} E_ENGINE if the addon is not built, or the processor lacks the instructions
 */
export function createNativeEngine(instructionSet?: string): HashEngine {
  const { addon, faults } = ownAddon();
  if (addon === undefined) {
    throw new MillraceError('E_ENGINE', ['the native engine is not built', ...faults].join('; '));
  }
  const names = addon.kernelNames();
  const kernel = names.findIndex(([name]) => name !== '' && (instructionSet === undefined || name === instructionSet));
  const detail = names[kernel]?.[1];
  if (detail === undefined) {
    throw new MillraceError('E_ENGINE', `the native engine has no instruction set ${instructionSet} here`);
  }
  const columns = generatorColumns();
  addon.loadColumns(new Uint8Array(columns.buffer, columns.byteOffset, columns.byteLength));
  const block = new Int32Array(50);

  function withKey(key: HashKey, run: (rounds: number) => void): void {
    const { rounds } = loadBlock(block, key);
    try {
      run(rounds);
    } finally {
      block.fill(0);
    }
  }

  /**
   * Space for the candidates of `hints` hints: two on average plus seven standard deviations. The addon reports
   * overflow.
   */
  const roomFor = (hints: number) => new Uint32Array(2 * hints + Math.ceil(7 * Math.sqrt(hints)) + 16);
  const later: LaterCalls = {
    async partition(key, build, first, count) {
      const { rounds } = loadBlock(block, key);
      block[0] = build.base ?? 0;
      // The addon copies the block before the call returns.
      const done = addon.partitionLater(
        kernel,
        block,
        rounds,
        ...tableOf(build.table),
        ...scratchOf(build),
        Uint32Array.of(first, count),
      );
      block.fill(0);
      if (!(await done)) throw partFull();
    },
    async index(build, first, count) {
      if (!(await addon.indexLater(...tableOf(build.table), ...scratchOf(build), first, count))) throw partFull();
    },
    async wipe(table) {
      await addon.wipeLater(...tableOf(table));
    },
    async lookUp(table, codes, skip) {
      const starts = new Uint32Array(codes.length + 1);
      let found = roomFor(codes.length);
      const count = await addon.lookUpLater(...tableOf(table), codes, skip, starts, found);
      if (count > found.length) {
        found = new Uint32Array(count);
        await addon.lookUpLater(...tableOf(table), codes, skip, starts, found);
      }
      return { starts, values: found.subarray(0, count) };
    },
    solve({ starts, values }, order, blocks, parity, out) {
      return addon.solveLater(kernel, starts, values, order, packBlocks(blocks), parity, out);
    },
  };

  return {
    name: 'native',
    detail,
    later,
    hashBatch(key, high, values, out) {
      withKey(key, (rounds) => addon.hashBatch(kernel, block, rounds, high, values, out));
    },
    hashRange(key, first, out, high = 0) {
      withKey(key, (rounds) => {
        block[1] = high;
        addon.hashRange(kernel, block, rounds, first, out);
      });
    },
    partition(key, build, first, count) {
      withKey(key, (rounds) => {
        block[0] = build.base ?? 0;
        const span = Uint32Array.of(first, count);
        if (!addon.partition(kernel, block, rounds, ...tableOf(build.table), ...scratchOf(build), span))
          throw partFull();
      });
    },
    index(build, part) {
      if (!addon.index(...tableOf(build.table), ...scratchOf(build), part, 1)) throw partFull();
    },
    discard(table) {
      addon.discard(...tableOf(table));
    },
    lookUp(table, codes, skip) {
      const starts = new Uint32Array(codes.length + 1);
      let found = roomFor(codes.length);
      const ask = () => addon.lookUp(...tableOf(table), codes, skip, starts, found);
      let count = ask();
      if (count > found.length) {
        found = new Uint32Array(count);
        count = ask();
      }
      return { starts, values: found.subarray(0, count) };
    },
    parity(values, order, blocks) {
      const out = new Uint8Array(totalParityBytes(blocks));
      addon.parity(kernel, values, order, packBlocks(blocks), out);
      return out;
    },
    solve(candidates, order, blocks, parity, out) {
      return addon.solve(kernel, candidates.starts, candidates.values, order, packBlocks(blocks), parity, out);
    },
  };
}

function tableOf(table: HintTable): TableArguments<[]> {
  return [table.order, table.parts, table.entries, table.ends];
}

function scratchOf(build: TableBuild): [Uint32Array, Uint32Array] {
  return [build.runs, build.cursors];
}

/** Four words per block, as in struct mr_block of native/kernel.h. */
function packBlocks(blocks: readonly Block[]): Uint32Array {
  return Uint32Array.from(blocks.flatMap((block) => [block.first, block.hints, block.parityAt, block.parityBytes]));
}
