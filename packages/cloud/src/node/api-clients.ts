import {
  type CborCodec,
  type ControlClient,
  controlRoutes,
  createApiClient,
  type DistributionClient,
  distributionRoutes,
  type Transport,
} from '@millrace/api';
import { decodeCbor, encodeCbor } from '@millrace/base';

// Typed clients for calls between nodes.

const cbor: CborCodec = {
  encode: (value) => encodeCbor(value as Parameters<typeof encodeCbor>[0]),
  decode: (bytes) => decodeCbor(bytes, 'answer of the node'),
};

export function controlClient(transport: Transport): ControlClient {
  return createApiClient(controlRoutes, { transport, cbor });
}

export function distributionClient(transport: Transport): DistributionClient {
  return createApiClient(distributionRoutes, { transport, cbor });
}
