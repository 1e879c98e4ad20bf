import { defineConfig } from 'vitest/config';

// Sources are tested without a build; only worker threads and child processes load dist/.
// No 'import' here: Vitest hands the conditions to Node, and packages that are required would load as modules.
const conditions = ['@millrace/source', 'node'];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ['packages/*/test/**/*.test.ts', 'tests/**/*.test.ts'],
    exclude: ['**/node_modules/**', '**/dist/**', ...(process.env.MILLRACE_HEAVY ? [] : ['tests/heavy/**'])],
    globalSetup: process.env.MILLRACE_TEST_STATE === 'cluster' ? ['packages/testkit/src/test-engines.ts'] : [],
    testTimeout: 240_000,
    hookTimeout: 240_000,
    pool: 'forks',
    // End-to-end tests mostly wait for processes of their own.
    maxWorkers: 3,
  },
});
