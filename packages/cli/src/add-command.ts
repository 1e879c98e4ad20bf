import type { Command } from 'commander';
import type { Context } from './commands/context.ts';

// Commands are loaded when they run: `millrace status` need not load what `design add` needs. What an action resolves
// to is its exit code, when it is a number.
export type Action = (context: Context, args: readonly string[], options: never) => Promise<unknown>;

export type Add = (parent: Command, usage: string, description: string, action: Action) => Command;
export type Group = (name: string, description: string) => Command;
