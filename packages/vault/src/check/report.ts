export type CheckProblem =
  /** Cells of a design, by segment. If `design` is undefined: decoys, of points or not. */
  | {
      readonly kind: 'missing' | 'damaged';
      readonly design: string | undefined;
      readonly points?: true;
      readonly segments: readonly number[];
    }
  /** Cells that are not in the playbook, by index. */
  | { readonly kind: 'extra'; readonly indexes: readonly string[] }
  /** Records of the keys node itself. */
  | { readonly kind: 'manifest' | 'keys'; readonly design: string; readonly reason: string };

export interface CheckReport {
  readonly clean: boolean;
  /** Sealed bytes were compared with the manifests, not only places and lengths. */
  readonly deep: boolean;
  /** Epoch in which the check began. */
  readonly epoch: number;
  readonly designs: number;
  /** Expected cells, decoys included. */
  readonly cells: number;
  readonly problems: readonly CheckProblem[];
}
