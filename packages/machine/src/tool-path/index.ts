export { ToolPath } from './path.ts';
export { drawPng, type PictureOptions } from './png.ts';
export { drawSvg, type SvgOptions } from './svg.ts';
export { drawThumbnail, ThumbnailPath } from './thumbnail.ts';
