export type { Canvas } from './canvas.ts';
export type { Label } from './label.ts';
export { type Move, ToolPath } from './path.ts';
export { type Deflate, drawLabelPdf } from './pdf.ts';
export { drawPicture, type PictureOptions } from './picture.ts';
export { drawSvg, type SvgOptions } from './svg.ts';
export { ThumbnailPath } from './thumbnail.ts';
