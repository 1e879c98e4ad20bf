/** What the fingers, the mouse and the wheel ask for. Places and distances in pixels of the page, from the element. */
export interface Gestures {
  /** One pointer. @param other with shift or another button than the first */
  drag(dx: number, dy: number, other: boolean): void;
  /** Two pointers. */
  pan(dx: number, dy: number): void;
  zoom(factor: number, x: number, y: number): void;
  /** The wheel with shift: up is 1, down -1. */
  step(by: number): void;
}

const WHEEL = 0.0015;

/** Listens on an element. @returns what ends it */
export function listenTo(element: HTMLElement, gestures: Gestures): () => void {
  const pointers = new Map<number, { x: number; y: number }>();
  const place = ({ clientX, clientY }: MouseEvent) => {
    const { left, top } = element.getBoundingClientRect();
    return { x: clientX - left, y: clientY - top };
  };
  const down = (event: PointerEvent) => {
    pointers.set(event.pointerId, place(event));
    element.setPointerCapture(event.pointerId);
  };
  const up = ({ pointerId }: PointerEvent) => void pointers.delete(pointerId);
  const move = (event: PointerEvent) => {
    const before = pointers.get(event.pointerId);
    if (before === undefined) return;
    const now = place(event);
    const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    pointers.set(event.pointerId, now);
    const [dx, dy] = [now.x - before.x, now.y - before.y];
    if (other === undefined) return gestures.drag(dx, dy, event.shiftKey || (event.buttons & 1) === 0);
    gestures.pan(dx / 2, dy / 2);
    const [far, near] = [
      Math.hypot(now.x - other.x, now.y - other.y),
      Math.hypot(before.x - other.x, before.y - other.y),
    ];
    if (near > 0 && far > 0) gestures.zoom(far / near, (now.x + other.x) / 2, (now.y + other.y) / 2);
  };
  const wheel = (event: WheelEvent) => {
    event.preventDefault();
    // Browsers turn the wheel with shift into a sideways one.
    const by = event.deltaY === 0 ? event.deltaX : event.deltaY;
    if (event.shiftKey) return gestures.step(-Math.sign(by));
    const { x, y } = place(event);
    gestures.zoom(Math.exp(-by * WHEEL * (event.ctrlKey ? 5 : 1)), x, y);
  };
  const menu = (event: Event) => event.preventDefault();
  element.addEventListener('pointerdown', down);
  element.addEventListener('pointermove', move);
  element.addEventListener('pointerup', up);
  element.addEventListener('pointercancel', up);
  element.addEventListener('wheel', wheel, { passive: false });
  element.addEventListener('contextmenu', menu);
  return () => {
    element.removeEventListener('pointerdown', down);
    element.removeEventListener('pointermove', move);
    element.removeEventListener('pointerup', up);
    element.removeEventListener('pointercancel', up);
    element.removeEventListener('wheel', wheel);
    element.removeEventListener('contextmenu', menu);
  };
}
