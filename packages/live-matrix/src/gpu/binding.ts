import { existsSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Gpu } from './webgpu.ts';

/** Paths of the SwiftShader manifest for a Vulkan loader, in Debian's Chromium and in Chrome. */
const softwareDrivers = [
  '/usr/lib/chromium/vk_swiftshader_icd.json',
  '/opt/google/chrome/vk_swiftshader_icd.json',
] as const;

/**
 * WebGPU in Node, from the optional package `webgpu`, or the reason why it is unavailable.
 * @param software allow a Vulkan driver that computes on the processor, if no other is installed
 */
export async function openBinding(software: boolean): Promise<Gpu | string> {
  if (!hasDriver()) {
    const driver = softwareDrivers.find((file) => existsSync(file));
    // Do not ask Dawn: it would write to standard error, which cannot be silenced.
    if (!software || driver === undefined) return 'WebGPU has no adapter here: no Vulkan driver is installed';
    // Read by the Vulkan loader when the first adapter is asked for; the second is its older name.
    process.env.VK_DRIVER_FILES = driver;
    process.env.VK_ICD_FILENAMES = driver;
  }
  try {
    // A variable name, so that the compiler does not resolve it: the package may be missing.
    const name: string = 'webgpu';
    const { create } = (await import(name)) as { create(options: readonly string[]): Gpu };
    return create([]);
  } catch {
    return 'no WebGPU here: neither a browser that has it nor the optional package "webgpu"';
  }
}

/** Whether the Vulkan loader would find a driver (its documentation, "Driver Discovery"). Other systems need none. */
function hasDriver(): boolean {
  if (process.platform !== 'linux') return true;
  const { env } = process;
  if (env.VK_DRIVER_FILES ?? env.VK_ICD_FILENAMES ?? env.VK_ADD_DRIVER_FILES) return true;
  const lists = [
    env.XDG_CONFIG_HOME ?? join(homedir(), '.config'),
    env.XDG_CONFIG_DIRS ?? '/etc/xdg',
    '/etc:/usr/local/etc',
    env.XDG_DATA_HOME ?? join(homedir(), '.local/share'),
    env.XDG_DATA_DIRS ?? '',
    '/usr/local/share:/usr/share',
  ];
  return lists
    .join(':')
    .split(':')
    .some((folder) => folder !== '' && hasManifest(join(folder, 'vulkan/icd.d')));
}

function hasManifest(folder: string): boolean {
  return existsSync(folder) && readdirSync(folder).some((name) => name.endsWith('.json'));
}
