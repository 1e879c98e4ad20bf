import { defineConfig } from 'vitest/config';

// Sources are tested without a build; only worker threads and child processes load dist/.
// No 'import' here: Vitest hands the conditions to Node, and packages that are required would load as modules.
const conditions = ['@millrace/source', 'node'];

/** Test installations keep their state in Cassandra and their mail in Kafka. */
const onCluster = process.env.MILLRACE_TEST_STATE === 'cluster';
/** Left out there: they open the files in which nodes keep their state, or bring stores of their own. */
const aboutFiles = [
  'tests/e2e/{backup,control-nodes,disk,ledger,life,rollback,second-copy}.test.ts',
  'tests/attacks/{03-availability,04-management-layer,recorded-mail,sealed-steps}.test.ts',
];
if (onCluster) console.log(`not run, because they are about files: ${aboutFiles.join(' ')}`);

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ['packages/*/test/**/*.test.ts', 'tests/**/*.test.ts'],
    exclude: [
      ...['**/node_modules/**', '**/dist/**'],
      ...(process.env.MILLRACE_HEAVY ? [] : ['tests/heavy/**']),
      ...(onCluster ? aboutFiles : []),
    ],
    globalSetup: onCluster ? ['packages/testkit/src/test-engines.ts'] : [],
    testTimeout: 240_000,
    hookTimeout: 240_000,
    pool: 'forks',
    // End-to-end tests mostly wait for processes of their own.
    maxWorkers: 3,
  },
});
