/** The address of a worker's script, which vite builds. */
declare module '*?worker&url' {
  const address: string;
  export default address;
}
