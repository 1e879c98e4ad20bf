/** How the reader of our lines can call this command: through npm unless it is installed by itself. */
export const commandName = process.env.npm_command === undefined ? 'millrace' : 'npx millrace';
