import { useEffect, useRef, useState } from 'preact/hooks';
import { codeReader } from './code-reader.ts';
import { operatorWords } from './operator-words.ts';
import { words } from './words.ts';

/** Time between two looks at the camera's picture, ms. */
const LOOK_MS = 200;

const hasCamera = () => typeof navigator.mediaDevices?.getUserMedia === 'function';

/** A button that opens the camera until it has read a code. Nothing of its picture leaves the page. */
export function CodeScanner({ found }: { readonly found: (code: string) => void }) {
  const w = operatorWords.value;
  const [isOpen, setOpen] = useState(false);
  const [failed, setFailed] = useState(false);
  if (!hasCamera()) return undefined;
  if (!isOpen)
    return (
      <>
        <button
          type="button"
          class="plain"
          onClick={() => {
            setFailed(false);
            setOpen(true);
          }}
        >
          {w.scanLive}
        </button>
        {failed ? <p role="status">{w.noCamera}</p> : undefined}
      </>
    );
  return (
    <Camera
      found={(code) => {
        setOpen(false);
        found(code);
      }}
      failed={() => {
        setOpen(false);
        setFailed(true);
      }}
      close={() => setOpen(false)}
    />
  );
}

function Camera({
  found,
  failed,
  close,
}: {
  readonly found: (code: string) => void;
  readonly failed: () => void;
  readonly close: () => void;
}) {
  const w = operatorWords.value;
  const video = useRef<HTMLVideoElement>(null);
  useEffect(() => {
    const stop = watch(video.current, { found, failed });
    return stop;
  }, []);
  return (
    <div class="camera">
      <video ref={video} aria-label={w.cameraPicture} muted playsInline />
      <p role="status">{w.holdCode}</p>
      <button type="button" class="plain" onClick={close}>
        {words.value.close}
      </button>
    </div>
  );
}

/** Shows the camera and reads it until there is a code. @returns how to stop */
function watch(
  video: HTMLVideoElement | null,
  { found, failed }: { readonly found: (code: string) => void; readonly failed: () => void },
): () => void {
  let isOver = false;
  let stream: MediaStream | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const stop = () => {
    isOver = true;
    clearTimeout(timer);
    for (const track of stream?.getTracks() ?? []) track.stop();
  };
  const look = async (read: Awaited<ReturnType<typeof codeReader>>) => {
    if (isOver || video === null) return;
    // Before the first picture, the video has none.
    const picture = await createImageBitmap(video).catch(() => undefined);
    const code = picture === undefined ? undefined : await read(picture);
    picture?.close();
    if (isOver) return;
    if (code !== undefined) {
      stop();
      return found(code);
    }
    timer = setTimeout(() => void look(read).catch(fail), LOOK_MS);
  };
  const fail = () => {
    if (isOver) return;
    stop();
    failed();
  };
  const start = async () => {
    const read = await codeReader();
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' }, audio: false });
    if (isOver || video === null) return stop();
    video.srcObject = stream;
    await video.play();
    await look(read);
  };
  start().catch(fail);
  return stop;
}
