/** Source of lane i before rho and pi (FIPS 202, section 3.2), and its rotation in bits. */
export const keccakMoves: readonly { readonly from: number; readonly bits: number }[] = makeMoves();

function makeMoves(): { from: number; bits: number }[] {
  const moves = Array.from({ length: 25 }, () => ({ from: 0, bits: 0 }));
  let [x, y] = [1, 0];
  for (let step = 0; step < 24; step++) {
    moves[y + 5 * ((2 * x + 3 * y) % 5)] = { from: x + 5 * y, bits: (((step + 1) * (step + 2)) / 2) % 64 };
    [x, y] = [y, (2 * x + 3 * y) % 5];
  }
  return moves;
}
