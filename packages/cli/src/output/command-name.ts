/** How the user can call this command: through npm unless it is installed separately. */
export const commandName = process.env.npm_command === undefined ? 'millrace' : 'npx millrace';
