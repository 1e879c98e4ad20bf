export * from './gcode/index.ts';
