import type { OpenLink } from './link.ts';
import { openSerialLink } from './serial-link.ts';
import { openTcpLink } from './tcp-link.ts';

export const openLink: OpenLink = (options, events) =>
  options.port.startsWith('tcp://') ? openTcpLink(options.port, events) : openSerialLink(options, events);
