/** Replaces a method by an attacker's code. @returns a function that restores the method */
export function override<T extends object, K extends keyof T>(target: T, method: K, replacement: T[K]): () => void {
  const own = Object.getOwnPropertyDescriptor(target, method);
  Object.defineProperty(target, method, { value: replacement, configurable: true, writable: true });
  return () => {
    if (own === undefined) delete target[method];
    else Object.defineProperty(target, method, own);
  };
}
