import type { Command } from 'commander';
import type { Context } from './commands/context.ts';

// Command modules are loaded on demand: `millrace status` need not load the code of `design add`. If an action resolves
// to a number, it is the exit code.
export type Action = (context: Context, args: readonly string[], options: never) => Promise<unknown>;

export type Add = (parent: Command, usage: string, description: string, action: Action) => Command;
export type Group = (name: string, description: string) => Command;
