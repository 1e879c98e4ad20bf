import { defineConfig } from 'vitest/config';

// Sources are tested without a build; only worker threads and child processes load dist/.
const conditions = ['@millrace/source', 'node', 'import', 'module', 'default'];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ['packages/*/test/**/*.test.ts', 'tests/**/*.test.ts'],
    exclude: ['**/node_modules/**', '**/dist/**', ...(process.env.MILLRACE_HEAVY ? [] : ['tests/heavy/**'])],
    testTimeout: 240_000,
    hookTimeout: 240_000,
    pool: 'forks',
    // End-to-end tests mostly wait for processes of their own.
    maxWorkers: 3,
  },
});
