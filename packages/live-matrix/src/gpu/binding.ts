import { existsSync } from 'node:fs';
import type { Gpu } from './webgpu.ts';

/** Where Debian's Chromium, and Chrome, keep the description of SwiftShader for a Vulkan loader. */
const softwareDrivers = [
  '/usr/lib/chromium/vk_swiftshader_icd.json',
  '/opt/google/chrome/vk_swiftshader_icd.json',
] as const;

/**
 * WebGPU in Node, by the optional package `webgpu`; undefined when it is not installed or has nothing for this system.
 * @param software a Vulkan driver that computes on the processor may be taken, if the environment names no other
 */
export async function openBinding(software: boolean): Promise<Gpu | undefined> {
  const driver = softwareDrivers.find((file) => existsSync(file));
  const isChosen = process.env.VK_DRIVER_FILES !== undefined || process.env.VK_ICD_FILENAMES !== undefined;
  if (software && driver !== undefined && !isChosen) {
    // Read by the Vulkan loader when the first adapter is asked for; the second is its older name.
    process.env.VK_DRIVER_FILES = driver;
    process.env.VK_ICD_FILENAMES = driver;
  }
  try {
    // By a name that the compiler does not follow: the package may be missing.
    const name: string = 'webgpu';
    const { create } = (await import(name)) as { create(options: readonly string[]): Gpu };
    return create([]);
  } catch {
    return undefined;
  }
}
