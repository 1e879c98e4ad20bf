import { systemClock, toMillraceError } from '@millrace/base';
import { type ClusterSettings, connectCluster } from '@millrace/cloud/parts';
import { CellStore, decodeMessage, encodeMessage, InProcessEngine } from '@millrace/vault';
import { CELLS, type FromMember, type ToMember } from './bench-nodes-ipc.ts';

// A process of `bench-nodes.ts`: a segments node that renews cells in Cassandra, without mail.

const tell = (message: FromMember) => void process.send?.(message);

async function serve(): Promise<void> {
  const { folder, settings } = JSON.parse(process.argv[2] ?? '{}') as { folder: string; settings: ClusterSettings };
  const cassandra = await connectCluster(folder, settings, { clock: systemClock });
  const cells = new CellStore(new InProcessEngine(cassandra.cells(CELLS)));
  process.on('message', async (message: ToMember) => {
    try {
      if ('usage' in message) {
        const { user, system } = process.cpuUsage();
        return tell({ usage: (user + system) / 1_000 });
      }
      const step = decodeMessage(message.maintain);
      if (step.type !== 'maintain') throw new Error('not a step of a sweep');
      tell({ maintained: encodeMessage(await cells.maintain(step)) });
    } catch (error) {
      tell({ failed: String(error) });
    }
  });
  process.on('disconnect', () => process.exit(0));
  tell({ ready: true });
}

serve().catch((error: unknown) => {
  tell({ failed: toMillraceError(error).message });
  process.exit(1);
});
