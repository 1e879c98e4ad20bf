// Texts of the viewer, in English. The other languages have exactly these keys.

export const en = {
  viewTitle: 'Look at a file',
  viewText: 'Layers and path of a G-code file. It is read in this browser, in pieces, and sent nowhere.',
  chooseTitle: 'Drop a G-code file here, or choose one',
  chooseText: 'Of any size; nothing of it leaves this browser',
  another: 'Another file',
  reading: (percent: string, layers: string) => `Reading: ${percent} %, ${layers} layers so far`,
  model: (format: string) =>
    `A ${format} file holds a shape, not the path of a tool: there are no layers to look at. A slicer turns it into G-code for a machine, which is what is stored and printed.`,
  nothing: 'Nothing in this file moves a tool.',
  viewOf: 'Layers and path',
  picture: (layer: string, layers: string, z: string) => `Layer ${layer} of ${layers}, at ${z}, seen from above`,
  picture3d: (layer: string, layers: string) => `The path up to layer ${layer} of ${layers}, in space`,
  layer: 'Layer',
  layerOf: (layer: string, layers: string, z: string) => `${layer} of ${layers}, at ${z}`,
  beforeLayers: 'before the first layer',
  move: 'Move',
  moveOf: (move: string, moves: string) => `${move} of ${moves}`,
  position: (x: string, y: string, z: string) => `X ${x}  Y ${y}  Z ${z}`,
  dropped: (moves: string) => `This layer has too many moves: ${moves} of them are not drawn.`,
  everyNth: (n: string) => `One layer in ${n} is drawn, because the path is long.`,
  no3d: 'This browser offers no WebGL, which the picture in space needs. The layers need none.',
  flat: 'Layers',
  space: 'Path in space',
  fit: 'Fit',
  zoomIn: 'Zoom in',
  zoomOut: 'Zoom out',
  travel: 'Travel moves',
  byTool: 'Colours by tool',
  tool: (n: string) => `Tool ${n}`,
  follow: 'Follow the machine',
  acknowledged: 'Acknowledged',
  segmentsOf: (acked: string, all: string) => `${acked} of ${all} segments`,
  buffer: 'Buffer of the machine',
  revision: 'Revision',
  matrix: 'Matrix',
  matrixOf: (order: string, suite: string) => `order ${order}, ${suite}`,
  temperatures: 'Temperatures',
  hotend: (celsius: string) => `Hotend ${celsius}`,
  bed: (celsius: string) => `Bed ${celsius}`,
  ago: (time: string) => `${time} ago`,
  unchanged: (time: string) => `Old: no new figures for ${time}`,
  ownCopy: 'Draw the path from your own copy of the file.',
  ownCopyText: 'The server knows how much of it is made, not what. The file stays in this browser.',
  wrongLength: (file: string, design: string) =>
    `This file has ${file} bytes, the design has ${design}: it is another file.`,
  legend: 'Colours',
  kinds: {
    travel: 'Travel',
    outer: 'Outer wall',
    inner: 'Inner wall',
    infill: 'Infill',
    solid: 'Solid infill',
    bridge: 'Bridge, overhang',
    support: 'Support',
    skirt: 'Skirt, brim, tower',
    other: 'Extrusion',
    cut: 'Cut',
  },
  keysTitle: 'Keys of the picture, when it has the focus',
  keys: {
    layer: 'Next or previous layer',
    ten: 'Ten layers on or back',
    ends: 'First or last layer',
    move: 'Next or previous move',
    zoom: 'Zoom in or out',
    fit: 'Fit into the picture',
    travel: 'Travel moves on or off',
    space: 'Layers or path in space',
  },
};

type Text = typeof en;
/** The texts in another language. */
export type ViewWords = {
  readonly [K in keyof Text]: Text[K] extends (...values: infer A) => string
    ? (...values: A) => string
    : Text[K] extends string
      ? string
      : { readonly [N in keyof Text[K]]: string };
};
