import { keccakMoves } from './moves.ts';

export const WORKGROUP = 64;

/*
 * Layout of the shader's parameters in words: four numbers, the block for g = 0 (25 lanes and 2 words of padding), and
 * the round constants, one per four words because that is the stride of a uniform array.
 */
export const COUNT_AT = 0;
export const FIRST_AT = 1;
export const FIRST_ROUND_AT = 2;
export const BLOCK_AT = 4;
export const CONSTANTS_AT = 56;
export const PARAMETER_WORDS = CONSTANTS_AT + 4 * 24;

/**
 * H in WGSL, one hash per thread. WGSL has no 64-bit integers: a lane is a vector of its low and its high word. A
 * rotation is two shifts of each word and, past 32, an exchange of the two. The round is written out lane by lane,
 * because an array with computed indexes would leave the registers. The last round computes only lane 0.
 */
export function shaderSource(): string {
  const lanes = Array.from({ length: 25 }, (_, lane) => lane);
  const columns = [0, 1, 2, 3, 4];
  const sums = columns.map((x) => `let c${x} = ${columns.map((y) => `s${x + 5 * y}`).join(' ^ ')};`);
  const effect = (x: number) => `let d${x} = c${(x + 4) % 5} ^ ${rotated(`c${(x + 1) % 5}`, 1)};`;
  const moved = lanes.map((lane) => {
    const { from, bits } = keccakMoves[lane] ?? { from: 0, bits: 0 };
    return { name: `b${lane}`, text: `let b${lane} = ${rotated(`(s${from} ^ d${from % 5})`, bits)};` };
  });
  const chi = (lane: number) => {
    const row = lane - (lane % 5);
    const [next, after] = [row + ((lane + 1) % 5), row + ((lane + 2) % 5)];
    return `b${lane} ^ (~b${next} & b${after})`;
  };
  return `
struct Parameters {
  count: u32, first: u32, firstRound: u32, unused: u32,
  block: array<vec4u, 13>,
  constants: array<vec4u, 24>,
}
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read> values: array<u32>;
@group(0) @binding(2) var<storage, read_write> results: array<u32>;

fn lane0(low: u32) -> vec2u {
${lanes.map((lane) => `  var s${lane} = p.block[${lane >> 1}].${lane % 2 === 0 ? 'xy' : 'zw'};`).join('\n')}
  s0.x = low;
  for (var round = p.firstRound; round < 23u; round++) {
    ${[...sums, ...columns.map(effect), ...moved.map(({ text }) => text)].join('\n    ')}
    s0 = ${chi(0)} ^ p.constants[round].xy;
    ${lanes
      .slice(1)
      .map((lane) => `s${lane} = ${chi(lane)};`)
      .join('\n    ')}
  }
  ${[...sums, ...[0, 1, 2].map(effect), ...moved.slice(0, 3).map(({ text }) => text)].join('\n  ')}
  return ${chi(0)} ^ p.constants[23].xy;
}

@compute @workgroup_size(${WORKGROUP})
fn hashRange(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= p.count) { return; }
  results[id.x] = lane0(p.first + id.x).x;
}

@compute @workgroup_size(${WORKGROUP})
fn hashBatch(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= p.count) { return; }
  let hash = lane0(values[id.x]);
  results[2u * id.x] = hash.x;
  results[2u * id.x + 1u] = hash.y;
}
`;
}

/** Rotates a lane to the left. No rotation of Keccak is 32. */
function rotated(lane: string, bits: number): string {
  if (bits === 0) return lane;
  const [same, other] = bits < 32 ? [lane, `${lane}.yx`] : [`${lane}.yx`, lane];
  return `((${same} << vec2u(${bits % 32}u)) | (${other} >> vec2u(${32 - (bits % 32)}u)))`;
}
