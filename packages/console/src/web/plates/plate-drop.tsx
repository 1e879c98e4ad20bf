import { MillraceError } from '@millrace/base';
import { useEffect, useRef, useState } from 'preact/hooks';
import { Drop } from '../drop.tsx';
import { Card, Failure } from '../parts.tsx';
import { formatBytes, formatCount } from '../words.ts';
import { startWorker } from '../workers.ts';
import type { Plate } from './plate-files.ts';
import type { PlateAnswer, PlateRequest } from './plate-messages.ts';
import { plateWords } from './plate-words.ts';
import workerAddress from './plate-worker.js?worker&url';

const THREE_MF = /(\.gcode)?\.3mf$/i;

interface Props {
  readonly title: string;
  readonly text: string;
  /** Gets a file as it is, or the G-code of a plate as a file. */
  readonly onFile: (file: File) => void;
}

/** A place to drop a file on. Of a sliced project (3MF with G-code), the person chooses a plate. */
export function PlateDrop({ title, text, onFile }: Props) {
  const [project, setProject] = useState<File>();
  const dismiss = () => setProject(undefined);
  const take = (file: File) => {
    dismiss();
    onFile(file);
  };
  if (project !== undefined) return <Project key={project.name} project={project} onFile={take} dismiss={dismiss} />;
  return (
    <Drop title={title} text={text} onFile={(file) => (THREE_MF.test(file.name) ? setProject(file) : onFile(file))} />
  );
}

function Project({
  project,
  onFile,
  dismiss,
}: Pick<Props, 'onFile'> & { readonly project: File; readonly dismiss: () => void }) {
  const w = plateWords.value;
  const [plates, setPlates] = useState<readonly Plate[]>([]);
  const [unpacking, setUnpacking] = useState<{ readonly done: number; readonly total: number }>();
  const [failure, setFailure] = useState<MillraceError>();
  const worker = useRef<Worker | undefined>(undefined);
  const ask = (request: PlateRequest) => worker.current?.postMessage(request);
  const name = useRef('');
  const unpack = ({ plate, part, size }: Plate, isOnly: boolean) => {
    name.current = `${project.name.replace(THREE_MF, '')}${isOnly ? '' : `-plate-${plate}`}.gcode`;
    setUnpacking({ done: 0, total: size });
    ask({ type: 'unpack', file: project, part });
  };
  useEffect(() => {
    const started = startWorker(workerAddress);
    worker.current = started;
    started.onmessage = ({ data }) => {
      const answer = data as PlateAnswer;
      switch (answer.type) {
        case 'plates': {
          const [only, ...others] = answer.plates;
          if (only === undefined) return onFile(project);
          if (others.length === 0) return unpack(only, true);
          return setPlates(answer.plates);
        }
        case 'progress':
          return setUnpacking(answer);
        case 'unpacked':
          return onFile(new File([answer.gcode], name.current, { lastModified: project.lastModified }));
        case 'failed':
          return setFailure(new MillraceError(answer.code, answer.message));
      }
    };
    started.onerror = (event) => {
      event.preventDefault();
      setFailure(new MillraceError('E_INTERNAL', 'the file could not be read by this browser'));
    };
    ask({ type: 'list', file: project });
    return () => started.terminate();
  }, [project]);
  const other = (
    <div>
      <button type="button" class="plain" onClick={dismiss}>
        {w.other}
      </button>
    </div>
  );
  if (failure !== undefined)
    return (
      <>
        <Failure error={failure} />
        {other}
      </>
    );
  return (
    <Card title={w.choose(project.name)}>
      {unpacking !== undefined ? (
        <>
          <progress max={1} value={unpacking.done / Math.max(1, unpacking.total)} aria-label={project.name} />
          <p role="status">{w.unpacking(formatBytes(unpacking.done), formatBytes(unpacking.total))}</p>
        </>
      ) : plates.length === 0 ? (
        <p role="status">{w.reading}</p>
      ) : (
        <>
          <p>{w.chooseText}</p>
          <div class="row">
            {plates.map((plate) => (
              <button type="button" key={plate.plate} data-plate={plate.plate} onClick={() => unpack(plate, false)}>
                {w.plate(formatCount(plate.plate), formatBytes(plate.size))}
              </button>
            ))}
          </div>
        </>
      )}
      {other}
    </Card>
  );
}
