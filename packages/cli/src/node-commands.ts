import type { Add, Group } from './add-command.ts';

/** Commands for nodes on hosts of their own (docs/several-hosts.md). */
export function addNodes(group: Group, add: Add): void {
  const nodes = () => import('./commands/nodes.ts');
  const replicas = () => import('./commands/replicas.ts');
  const node = group('node', 'nodes on hosts of their own');
  add(
    node,
    'create',
    'on the node’s host: make its keys in --home, and a request for the administrator',
    async (context, _, options) => (await nodes()).create(context, options),
  )
    .requiredOption('--role <role>', 'control, segments, keys or distribution')
    .requiredOption('--id <id>', 'name of the node, such as segments-1')
    .requiredOption('--installation <id>', 'the installation, as `millrace init --without-nodes` shows it')
    .requiredOption('--admin-key <key>', 'the administrator’s key, as `millrace init --without-nodes` shows it')
    .requiredOption('--out <file>', 'where the request is written')
    .option('--address <host:port...>', 'where others reach a control or distribution node')
    .option('--listen <host:port>', 'where it listens, if not at its address; 0.0.0.0:7601 for all interfaces')
    .option('--ledger <host:port>', 'control: where the public ledger listens (default: nowhere)')
    .option('--console <host:port>', 'control: where the console listens (default: nowhere)')
    .option('--cluster <file>', 'control, segments, keys: where the state is, as `cluster` in docs/cluster.md')
    .option('--join', 'control: get the keys that control nodes share from those that are there')
    .option('--replica-of <id>', 'keys: a further replica of this keys node, with the same --cluster');
  add(
    node,
    'admit <request...>',
    'as the administrator: verify requests, sign the next directory, write the nodes’ admissions',
    async (context, files, options) => (await nodes()).admit(context, files, options),
  )
    .requiredOption('--fingerprint <hex...>', 'what `node create` has shown on each host')
    .option('--replaces <id>', 'the node that this one replaces')
    .option('--shared-cells', 'the segments nodes share one keyspace of a cluster')
    .option('--out <folder>', 'where the admissions are written as well (they stay in the home folder)');
  add(node, 'retire <id>', 'as the administrator: remove a node from the directory', async (context, [id = '']) =>
    (await nodes()).retire(context, id),
  );
  add(node, 'publish', 'as the administrator: give the newest directory to control and distribution again', (context) =>
    nodes().then(({ publish }) => publish(context)),
  );
  add(node, 'list', 'as the administrator: list the nodes of the newest directory', async (context) =>
    (await nodes()).list(context),
  );
  add(
    node,
    'replicate <request>',
    'on the host of a keys node in a cluster, in --home: enrol a replica, and seal the node’s keys to its request',
    async (context, [file = ''], options) => (await replicas()).replicate(context, file, options),
  )
    .requiredOption('--fingerprint <hex>', 'what `node create --replica-of` has shown on the new host')
    .requiredOption('--out <file>', 'where the sealed keys are written, for the new host');
  add(
    node,
    'replicas',
    'on the host of a keys node in a cluster: list its replicas, or remove one that is lost for good',
    async (context, _, options) => (await replicas()).replicas(context, options),
  ).option('--remove <id>', 'the replica that is lost: its disk has to be destroyed');
  add(
    node,
    'run',
    'on the node’s host: install its admission, if one is given, and run the node in --home',
    async (context, _, options) => (await nodes()).run(context, options),
  ).option(
    '--admission <file>',
    'what `node admit` or `node replicate` has written for it; may be given at every start',
  );
}
