import { type Closable, Closer } from '@millrace/base';
import { type Address, createHttpClient, nodesOf, tlsTo } from '@millrace/protocol';
import type { NodeConfig } from '../config.ts';
import { controlClient } from '../node/api-clients.ts';
import { followDirectory } from '../node/follow-directory.ts';
import { isHeldBy } from '../node/lease.ts';
import { type Leases, type MemberOptions, runMember, type Turn } from '../node/member.ts';
import type { ProcessModules } from '../node/modules.ts';
import { renewTls, type TlsServer } from '../node/server.ts';
import type { ControlNode } from './control-node.ts';
import { openFront } from './front.ts';
import { hasSharedKeys, takeSharedKeys } from './shared-keys.ts';

/** The time of a control node as the active one. */
export interface ControlTurn extends Turn {
  /** Serves the API while the lease is current. */
  serve(server: TlsServer): Promise<Closable>;
}

export type ControlMemberOptions<P extends Closable> = Pick<
  MemberOptions<P>,
  'config' | 'openLeases' | 'takeoverMs' | 'open'
> & {
  readonly address: Address;
  /** Builds the node; closing it closes `opened`. */
  readonly activate: (turn: ControlTurn, opened: P) => Promise<ControlNode>;
};

/**
 * A control node that shares its state with others in a cluster. While it is on standby, it answers E_STANDBY.
 * @throws {MillraceError} E_CONFIG, E_UNAVAILABLE, E_TIMEOUT
 */
export async function runControlMember<P extends Closable>(
  { address, activate, ...options }: ControlMemberOptions<P>,
  modules: ProcessModules,
): Promise<Closable> {
  const { config } = options;
  const logger = modules.logger.child({ node: config.id, role: 'control' });
  const closer = new Closer();
  const front = closer.add(await openFront(config, address, logger));
  config.directories?.subscribe(() => renewTls(front.server, config));
  const openStandby = async (leases: Leases) => {
    const standby = new Closer();
    const others = standby.add(connectOthers(config));
    standby.add(followDirectory(config, { logger, sources: [others.control] }));
    return {
      prepare: async () =>
        takeSharedKeys(config, await others.control.active.sharedKeys({}), (holder) =>
          isHeldBy(leases.records('leases'), 'control', holder),
        ),
      close: () => standby.close(),
    };
  };
  try {
    closer.add(
      await runMember(
        {
          ...options,
          role: 'control',
          name: config.id,
          isReady: () => hasSharedKeys(config),
          openStandby,
          activate: (turn, opened) => activate({ ...turn, serve: (server) => front.serve(server, turn.lease) }, opened),
        },
        modules,
      ),
    );
    return closer;
  } catch (error) {
    await closer.close();
    throw error;
  }
}

/** A client of the other control nodes, of which the active one answers. */
function connectOthers(config: NodeConfig): Closable & { readonly control: ReturnType<typeof controlClient> } {
  const { directory, id } = config;
  const addresses = () => nodesOf(directory, 'control').flatMap((node) => (node.id === id ? [] : node.addresses));
  const http = createHttpClient({ addresses, tls: tlsTo(directory, 'control', () => config.tls) });
  return { control: controlClient(http), close: () => http.close() };
}
