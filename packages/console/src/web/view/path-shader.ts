import { MillraceError } from '@millrace/base';
import { pathKinds } from '@millrace/gcode';
import { type PathColours, toolKinds } from './colours.ts';
import type { SpaceView } from './orbit.ts';

/** Kind of a piece that joins two layers and is not drawn. */
export const HIDDEN = 255;
/** Attributes, by location. */
export const attributes = { from: 0, to: 1, kind: 2, tool: 3 } as const;

const vertex = `#version 300 es
layout(location = 0) in vec3 from;
layout(location = 1) in vec3 to;
layout(location = 2) in uint kind;
layout(location = 3) in uint tool;
uniform mat4 matrix;
uniform vec3 towards;
uniform float bead;
uniform float thin;
uniform bool travel;
uniform bool byTool;
uniform vec3 kinds[${pathKinds.length}];
uniform vec3 tools[${toolKinds.length}];
out vec3 colour;
out vec3 side;
out float across;
void main() {
  bool shown = kind < ${pathKinds.length}u && (kind != 0u || travel);
  vec3 along = to - from;
  vec3 turned = cross(along, towards);
  side = dot(turned, turned) < 1e-12 ? vec3(1.0, 0.0, 0.0) : normalize(turned);
  across = (gl_VertexID & 2) == 0 ? -1.0 : 1.0;
  float width = kind == 0u ? thin : bead;
  vec3 place = ((gl_VertexID & 1) == 0 ? from : to) + side * (across * width * 0.5);
  gl_Position = shown ? matrix * vec4(place, 1.0) : vec4(2.0, 2.0, 2.0, 1.0);
  colour = byTool && kind != 0u ? tools[tool % ${toolKinds.length}u] : kinds[min(kind, ${pathKinds.length - 1}u)];
}`;

const fragment = `#version 300 es
precision highp float;
in vec3 colour;
in vec3 side;
in float across;
uniform vec3 towards;
out vec4 pixel;
void main() {
  // A round bead, lit from above and the left.
  vec3 normal = normalize(side * across + towards * sqrt(max(1.0 - across * across, 0.0)));
  float light = 0.6 + 0.5 * max(dot(normal, normalize(vec3(-0.4, -0.5, 0.75))), 0.0);
  pixel = vec4(colour * min(light, 1.15), 1.0);
}`;

export interface PathUniforms extends SpaceView {
  readonly colours: PathColours;
  readonly travel: boolean;
  readonly byTool: boolean;
  /** Which layers are drawn: beads are as wide as the gap. */
  readonly every: number;
  readonly ratio: number;
}

const BEAD = 0.45;
const LAYER = 0.2;

/** The program that draws pieces of path as round beads. */
export class PathShader {
  readonly #gl: WebGL2RenderingContext;
  readonly #program: WebGLProgram;

  constructor(gl: WebGL2RenderingContext) {
    this.#gl = gl;
    this.#program = gl.createProgram();
    for (const [type, source] of [
      [gl.VERTEX_SHADER, vertex],
      [gl.FRAGMENT_SHADER, fragment],
    ] as const) {
      const shader = gl.createShader(type);
      if (shader === null) throw new MillraceError('E_UNAVAILABLE', 'this browser offers no WebGL');
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(this.#program, shader);
    }
    gl.linkProgram(this.#program);
    if (gl.getProgramParameter(this.#program, gl.LINK_STATUS) !== true)
      throw new MillraceError('E_INTERNAL', `WebGL: ${gl.getProgramInfoLog(this.#program) ?? 'no program'}`);
    gl.enable(gl.DEPTH_TEST);
  }

  use({ matrix, towards, scale, colours, travel, byTool, every, ratio }: PathUniforms): void {
    const gl = this.#gl;
    gl.useProgram(this.#program);
    const at = (name: string) => gl.getUniformLocation(this.#program, name);
    gl.uniformMatrix4fv(at('matrix'), false, matrix);
    gl.uniform3f(at('towards'), ...towards);
    const pixel = ratio / scale;
    gl.uniform1f(at('bead'), Math.max(BEAD, LAYER * every, pixel));
    gl.uniform1f(at('thin'), pixel);
    gl.uniform1i(at('travel'), travel ? 1 : 0);
    gl.uniform1i(at('byTool'), byTool ? 1 : 0);
    gl.uniform3fv(at('kinds'), colours.kinds.flatMap(partsOf));
    gl.uniform3fv(at('tools'), colours.tools.flatMap(partsOf));
  }
}

/** #rrggbb to three numbers from 0 to 1. */
function partsOf(colour: string): number[] {
  const value = Number.parseInt(colour.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255].map((part) => part / 255);
}
