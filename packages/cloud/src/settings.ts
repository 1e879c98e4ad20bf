import { hexOf } from '@millrace/base';
import { addressRanges, addressSchema, nodeId, nodeRoles } from '@millrace/protocol';
import { SEGMENT_BYTES } from '@millrace/vault';
import { z } from 'zod';

// `node.json`: the settings of an installation and their defaults.

/** Limits on the cost of maintenance. An absent field sets no limit. */
export const budgetSchema = z.strictObject({
  /** Bytes of cells renewed per second. */
  bytesPerSecond: z.number().positive().optional(),
  /** Cores of the segments node: 0.25 is a quarter of a core, 2 are two cores. */
  coreShare: z.number().positive().max(1024).optional(),
  /** Cost per month of 30 days, in the currency of the prices. */
  moneyPerMonth: z.number().positive().optional(),
  /** Prices (paper, table 2): an hour of hashing at 100 million hashes a second, and a gigabyte on the wire. */
  prices: z
    .strictObject({ hash100MHour: z.number().min(0), gigabyte: z.number().min(0) })
    .default({ hash100MHour: 0.05, gigabyte: 0.087 }),
});
export type BudgetSettings = z.output<typeof budgetSchema>;

export interface MaintenanceSettings {
  /** Period in which every cell is renewed, ms. */
  readonly periodMs: number;
  readonly budget?: BudgetSettings | undefined;
}

/** Quotas of staged uploads. */
export const stagingSchema = z.strictObject({
  designsPerOwner: z.number().int().min(1),
  bytesPerOwner: z.number().int().min(SEGMENT_BYTES),
  /** Bytes of all owners together. */
  bytes: z.number().int().min(SEGMENT_BYTES),
});
export type StagingSettings = z.output<typeof stagingSchema>;

export const DEFAULT_STAGING: StagingSettings = {
  designsPerOwner: 16,
  bytesPerOwner: 16 * 2 ** 30,
  bytes: 64 * 2 ** 30,
};

const boxPeriod = z.strictObject({ periodMs: z.number().int().min(100), retentionMs: z.number().int().min(0) });

const fileName = z.string().min(1).max(4096);

/** A witness that signs the log's checkpoints (C2SP tlog-witness). */
const witnessSchema = z.strictObject({
  /** Submission prefix. */
  url: z.url({ protocol: /^https?$/ }),
  /** Verifier key, type 0x04. */
  key: z.string().max(1024),
  /** File with the authority of the witness's certificate, PEM. Default: the system's authorities. */
  authority: fileName.optional(),
});

/** Files with a certificate and its key, PEM. */
const tlsFiles = z.strictObject({ certificate: fileName, key: fileName });

/** Settings of the public ledger. */
export const ledgerSchema = z.strictObject({
  /** Address of the listener; false turns it off. Default: the address given to the process at its start. */
  listen: z.union([addressSchema, z.literal(false)]).optional(),
  /** Files with a certificate and its key for this listener, PEM. Default: the node's own. */
  tls: tlsFiles.optional(),
  witnesses: z.array(witnessSchema).max(16).default([]),
  /** Interval at which new heads are sent to the witnesses, ms. */
  everyMs: z.number().int().min(50).default(1_000),
});
export type LedgerSettings = z.output<typeof ledgerSchema>;
export type WitnessSettings = Omit<z.output<typeof witnessSchema>, 'authority'> & {
  /** PEM. */
  readonly authority?: string | undefined;
};

const originSchema = z
  .url({ protocol: /^https?$/ })
  .refine((text) => new URL(text).origin === text, 'an origin, such as https://millrace.example');

/** Settings of the console, the web application. */
export const consoleSchema = z.strictObject({
  /** Address of the listener; false turns it off. Default: the address given to the process at its start. */
  listen: z.union([addressSchema, z.literal(false)]).optional(),
  /**
   * Address that people open, without a path. It has a host name: browsers offer no passkeys for IP addresses. Default:
   * http://localhost with the port of the listener.
   */
  origin: originSchema.optional(),
  /** Origin of distribution's listener for browsers. Default: none, or the one on this computer. */
  uploads: originSchema.optional(),
  /** Without it, the listener uses HTTP and has to be on this computer. */
  tls: tlsFiles.optional(),
  /**
   * Where providers of company sign-in may be, default `public`. `private`: also in private networks, for an installation of one company
   * whose provider is inside.
   */
  providers: z.enum(['public', 'private']).optional(),
});
export type ConsoleSettings = z.output<typeof consoleSchema>;

/** Settings of distribution's listener to which browsers upload. */
export const browsersSchema = z.strictObject({
  /** Address of the listener; false turns it off. Default: the address given to the process at its start. */
  listen: z.union([addressSchema, z.literal(false)]).optional(),
  /** Address that browsers use, without a path. Default: http://localhost with the port of the listener. */
  origin: originSchema.optional(),
  /** Origin of the console, whose pages upload. Default: http://localhost with the port of the console. */
  console: originSchema.optional(),
  /** Without it, the listener uses HTTP and has to be on this computer. */
  tls: tlsFiles.optional(),
});
export type BrowsersSettings = z.output<typeof browsersSchema>;

/** A range of addresses, such as 10.1.0.0/16. */
const rangeSchema = z.string().refine(
  (text) => {
    try {
      addressRanges([text]);
      return true;
    } catch {
      return false;
    }
  },
  { error: 'expected a range of addresses, such as 10.1.0.0/16' },
);

/** Settings of webhooks: what they may reach besides https:// at public addresses. */
export const webhooksSchema = z.strictObject({
  /** Ranges that are not public. */
  networks: z.array(rangeSchema).max(64).default([]),
  /** Allows http://. Whoever is on the way then reads what changes. */
  http: z.boolean().default(false),
  /** File with further authorities of receivers' certificates, PEM. */
  authority: fileName.optional(),
  /** Pause after the first failed attempt, ms. */
  retryMs: z.number().int().min(10).max(3_600_000).default(5_000),
});
/** `authority` is PEM after the settings were read. */
export type WebhookSettings = z.output<typeof webhooksSchema>;
export const DEFAULT_WEBHOOKS: WebhookSettings = webhooksSchema.parse({});

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/;

const loginSchema = z.strictObject({
  user: z.string().min(1).max(100),
  /** One line; only its owner may read the file. */
  passwordFile: fileName,
});

/** Files, PEM. */
const engineTls = z
  .strictObject({
    authority: fileName,
    certificate: fileName.optional(),
    key: fileName.optional(),
    serverName: z.string().min(1).max(253).optional(),
  })
  .refine(({ certificate, key }) => (certificate === undefined) === (key === undefined), {
    error: 'certificate and key belong together',
  });

/** Control: the Kafka cluster that holds the mail between the nodes. */
const kafkaSchema = z
  .strictObject({
    /** `host:port`. */
    brokers: z
      .array(z.string().regex(/^.{1,290}:\d{1,5}$/))
      .min(1)
      .max(16),
    /** Names of topics and consumer groups begin with it. */
    prefix: z.string().regex(/^[a-z][a-z0-9-]{0,59}$/),
    copies: z.number().int().min(1).max(7).optional(),
    login: loginSchema.optional(),
    /** Without it, the brokers have to be on this computer. */
    tls: engineTls.optional(),
    /** Mail that was delivered so often becomes a dead letter. Default: never. */
    deadAfter: z.number().int().min(1).optional(),
  })
  .refine(({ brokers, tls }) => tls !== undefined || brokers.every((broker) => LOOPBACK.test(broker)), {
    error: 'brokers on other computers need tls',
  });
export type KafkaSettings = z.output<typeof kafkaSchema>;

/** Control, segments and keys nodes: the Cassandra cluster that holds their state instead of their folder. */
export const clusterSchema = z
  .strictObject({
    /** `host` or `host:port`. */
    contactPoints: z.array(z.string().min(1).max(300)).min(1).max(16),
    localDataCenter: z.string().min(1).max(100),
    /** One for each node. Made at the first start, with `copies` of each row. */
    keyspace: z.string().regex(/^[a-z][a-z0-9_]{0,47}$/),
    copies: z.number().int().min(1).max(7).optional(),
    login: loginSchema.optional(),
    /** Without it, the contact points have to be on this computer. */
    tls: engineTls.optional(),
    kafka: kafkaSchema.optional(),
    /** Control: after this time without a sign of life of the active node, another one becomes active, ms. */
    takeoverMs: z.number().int().min(2_000).max(600_000).optional(),
  })
  .refine(({ contactPoints, tls }) => tls !== undefined || contactPoints.every((point) => LOOPBACK.test(point)), {
    error: 'a cluster on other computers needs tls',
  });
export type ClusterSettings = z.output<typeof clusterSchema>;

export const settingsSchema = z.strictObject({
  role: z.enum(nodeRoles),
  id: nodeId,
  /** Fixed at installation. The directory must have this administrator's signature. */
  installation: hexOf(16),
  adminKey: hexOf(33),
  /**
   * Control and distribution: the address on which the process listens. Default: the first that the directory lists for
   * the node.
   */
  listen: addressSchema.optional(),
  /** Keys node: the period in which every cell is renewed, the percentage of cells that are real, and the budget. */
  maintenance: z
    .strictObject({
      periodMs: z.number().int().min(100),
      density: z.number().int().min(1).max(100),
      budget: budgetSchema.optional(),
    })
    .optional(),
  /**
   * How often box keys are replaced, and how long owners may seal to the previous one (spec/protocol.md, section 4).
   */
  boxes: z.strictObject({ mail: boxPeriod.optional(), attachments: boxPeriod.optional() }).optional(),
  /** Keys node: chaff hints for every 100 hints of data, in streams with sparse hints (a setting of the machine). */
  chaffPercent: z.number().int().min(0).max(100).optional(),
  /** Keys node: intervals of periodic checks of the vault, ms; 0 turns them off. */
  checks: z
    .strictObject({
      everyMs: z.number().int().min(0),
      deepEveryMs: z.number().int().min(0),
      afterStartMs: z.number().int().min(0),
    })
    .optional(),
  /** Distribution node: quotas of staged uploads. */
  staging: stagingSchema.optional(),
  /** Control: settings of the public ledger and its witnesses. */
  ledger: ledgerSchema.optional(),
  /** Distribution node: settings of the listener for browsers. */
  browsers: browsersSchema.optional(),
  /** Control: settings of the console. */
  console: consoleSchema.optional(),
  /** Control: settings of webhooks. */
  webhooks: webhooksSchema.optional(),
  /** Keys node with several replicas: name of this one, if it is not the first. */
  replica: nodeId.optional(),
  /** Not distribution, which has no state. */
  cluster: clusterSchema.optional(),
});

/** Checks after every start and once an hour; reads every cell once a day. */
export const DEFAULT_CHECKS = { everyMs: 3_600_000, deepEveryMs: 86_400_000, afterStartMs: 2_000 } as const;

/**
 * Senders seal mail again when the key is gone, so old mail keys are not kept. An attachment may stay on the owner's
 * disk until an interrupted upload is resumed, so its keys are kept for a day.
 */
export const DEFAULT_BOXES = {
  mail: { periodMs: 600_000, retentionMs: 0 },
  attachments: { periodMs: 3_600_000, retentionMs: 86_400_000 },
} as const;

export const DEFAULT_MAINTENANCE = { periodMs: 120_000, density: 50 } as const;

export const DEFAULT_LEDGER: LedgerSettings = { witnesses: [], everyMs: 1_000 };
