import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { symlink, unlink } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';

/** A simulated controller with bytes on both sides, like a serial port. */
export interface SerialDevice {
  /** Called with bytes for the host. */
  output: (bytes: Uint8Array) => void;
  input(bytes: Uint8Array): void;
  /** As the reset line of a board does. */
  reset(): void;
}

export interface ServedDevice {
  /** The driver's setting `port`. */
  readonly port: string;
  /** Cuts the cable. */
  unplug(): Promise<void>;
  close(): Promise<void>;
}

/** A controller at the other end of a socket. Each connection resets it, as opening a serial port does. */
export async function serveOnSocket(device: SerialDevice): Promise<ServedDevice> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    for (const other of sockets) other.destroy();
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
    device.output = (bytes) => void (socket.writable && socket.write(bytes));
    socket.on('data', (bytes) => device.input(bytes));
    device.reset();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  const unplug = async () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: `tcp://127.0.0.1:${port}`,
    unplug,
    close: async () => {
      await unplug();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** Opens a pseudo-terminal, names its other end on standard error, and carries bytes until standard input ends. */
const ptyScript = `
import os, pty, select, sys, tty, termios
master, slave = pty.openpty()
tty.setraw(slave)
sys.stderr.write(os.ttyname(slave) + "\\n"); sys.stderr.flush()
while True:
    ready, _, _ = select.select([master, 0], [], [])
    if 0 in ready:
        data = os.read(0, 65536)
        if not data: break
        while data: data = data[os.write(master, data):]
    if master in ready:
        data = os.read(master, 65536)
        while data: data = data[os.write(1, data):]
`;

/** Why no pseudo-terminal can be opened here, or undefined. Node cannot open one itself. */
export function missingPty(): string | undefined {
  if (process.platform === 'win32') return 'this system has no pseudo-terminals';
  const { status } = spawnSync('python3', ['-c', 'import pty; pty.openpty()']);
  return status === 0 ? undefined : 'python3 is needed to open a pseudo-terminal';
}

/** A controller at the other end of a pseudo-terminal. @param path a link to it, which outlives the terminal */
export async function serveOnPty(device: SerialDevice, path: string): Promise<ServedDevice> {
  const child: ChildProcess = spawn('python3', ['-u', '-c', ptyScript], { stdio: ['pipe', 'pipe', 'pipe'] });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const name = await new Promise<string>((resolve, reject) => {
    child.stderr?.once('data', (data: Buffer) => resolve(data.toString().trim()));
    child.once('error', reject);
  });
  await unlink(path).catch(() => undefined);
  await symlink(name, path);
  child.stdin?.on('error', () => undefined);
  device.output = (bytes) => void (child.stdin?.writable && child.stdin.write(bytes));
  child.stdout?.on('data', (bytes: Buffer) => device.input(bytes));
  device.reset();
  const unplug = async () => {
    child.kill('SIGKILL');
    await exited;
    await unlink(path).catch(() => undefined);
  };
  return { port: path, unplug, close: unplug };
}
