import type { DistributionClient } from '@millrace/api';
import { type Bytes, MillraceError } from '@millrace/base';

/** Sealed segments that owners have uploaded to the distribution node. */
export class StagedSegments {
  readonly #uploads: DistributionClient['uploads'];

  constructor({ uploads }: Pick<DistributionClient, 'uploads'>) {
    this.#uploads = uploads;
  }

  /** @returns segments by number @throws {MillraceError} E_UPLOAD naming a segment that is not staged */
  async fetch(design: string, numbers: readonly number[], signal: AbortSignal): Promise<Map<number, Bytes>> {
    const fetched = await Promise.all(
      numbers.map(async (number) => {
        try {
          return await this.#uploads.get({ design, segment: number }, { signal });
        } catch (error) {
          if (error instanceof MillraceError && error.code === 'E_NOT_FOUND') {
            const missing = `segment ${number} has not been uploaded`;
            throw new MillraceError('E_UPLOAD', missing, { data: { segment: number } });
          }
          throw error;
        }
      }),
    );
    return new Map(numbers.map((number, i) => [number, fetched[i] as Bytes]));
  }

  /** Requests that every staging copy of the design is overwritten and removed. */
  async wipe(design: string, signal?: AbortSignal): Promise<void> {
    await this.#uploads.wipe({ design }, { signal });
  }
}
