import { MillraceError } from '@millrace/base';
import type { PreparedDesign } from '@millrace/client';
import { useState } from 'preact/hooks';
import { Signing } from './gesture.tsx';
import { identity } from './identity.ts';
import { lazy } from './lazy.tsx';
import { Card, Failure } from './parts.tsx';
import { PlateDrop } from './plates/plate-drop.tsx';
import { session } from './session.ts';
import type { UploadTerms } from './upload-messages.ts';
import { cancelUpload, startUpload, type UploadState, unlockUpload, upload } from './uploads.ts';
import { formatBytes, formatCount, words } from './words.ts';

const GCODE = /\.(gcode|gco|g|nc|ngc|tap)$/i;
const MODEL = /\.(stl|3mf)$/i;

const LayerView = lazy(async () => (await import('./view/layer-view.tsx')).LayerView);

/** Chooses a file, and shows the upload under way. */
export function UploadCard() {
  const w = words.value;
  const state = upload.value;
  const [file, setFile] = useState<File | undefined>();
  if (identity.value === undefined) return <p class="quiet">{w.noKeyHere}</p>;
  if (state !== undefined) return <Progress state={state} />;
  if (file !== undefined) return <Terms file={file} dismiss={() => setFile(undefined)} />;
  return <PlateDrop title={w.designDropTitle} text={`${w.designDropText} ${w.designSealedHere}`} onFile={setFile} />;
}

function Terms({ file, dismiss }: { readonly file: File; readonly dismiss: () => void }) {
  const w = words.value;
  const [name, setName] = useState(file.name);
  const [material, setMaterial] = useState('');
  const [rate, setRate] = useState(Number.NaN);
  const isGcode = GCODE.test(file.name);
  const begin = () => {
    const own = identity.value;
    const uploads = session.view.value?.uploads;
    if (own === undefined || uploads === undefined) return;
    const terms: UploadTerms = {
      name: name.trim() || file.name,
      ...(material.trim() === '' ? {} : { material: material.trim() }),
      ...(isGcode ? {} : { bytesPerSecond: rate }),
    };
    dismiss();
    startUpload(own, uploads, { file, terms });
  };
  return (
    <Card title={`${file.name} (${formatBytes(file.size)})`}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          begin();
        }}
      >
        {isGcode ? undefined : <p class="notice card">{MODEL.test(file.name) ? w.designIsModel : w.designIsBytes}</p>}
        <label>
          {w.designName}
          <input
            type="text"
            maxLength={200}
            autocomplete="off"
            value={name}
            onInput={(event) => setName(event.currentTarget.value)}
          />
        </label>
        <label>
          {w.designMaterial}
          <input
            type="text"
            maxLength={60}
            autocomplete="off"
            value={material}
            onInput={(event) => setMaterial(event.currentTarget.value)}
          />
        </label>
        {isGcode ? undefined : (
          <label>
            {w.bytesPerSecond}
            <input
              type="number"
              min={1}
              required
              value={Number.isNaN(rate) ? '' : rate}
              onInput={(event) => setRate(event.currentTarget.valueAsNumber)}
            />
          </label>
        )}
        <div class="row">
          <button type="submit">{w.sealAndUpload}</button>
          <button type="button" class="plain" onClick={dismiss}>
            {w.cancelUpload}
          </button>
        </div>
      </form>
      {isGcode ? <LayerView source={file} /> : undefined}
    </Card>
  );
}

function Progress({ state }: { readonly state: UploadState }) {
  const w = words.value;
  const { name, step, failure } = state;
  const refused = failure && <Failure error={new MillraceError(failure.code, failure.message)} />;
  if (step === 'failed')
    return (
      <Card title={w.uploadFailed(name)}>
        <div data-upload="failed">{refused}</div>
        <Dismiss />
      </Card>
    );
  if (step === 'stored')
    return (
      <Card>
        <p role="status" data-upload="stored">
          {w.storedStep(name)}
        </p>
        <Dismiss />
      </Card>
    );
  return (
    <Card title={name}>
      <p role="status" data-upload={step}>
        {textOf(state)}
      </p>
      {step === 'sealing' || step === 'uploading' ? <Bar state={state} /> : undefined}
      {step === 'sign' ? (
        <>
          <Signing label={w.signAndUpload} open={unlockUpload} />
          {refused}
        </>
      ) : undefined}
      <button type="button" class="plain" onClick={cancelUpload}>
        {w.cancelUpload}
      </button>
    </Card>
  );
}

function textOf({ step, done, total }: UploadState): string {
  const w = words.value;
  if (step === 'sign') return w.signStep;
  if (step === 'storing') return w.storingStep;
  if (total === 0) return w.beginningStep;
  if (step === 'sealing') return w.sealingStep(formatBytes(done), formatBytes(total));
  return w.uploadingStep(formatCount(done), formatCount(total));
}

function Bar({ state: { name, done, total } }: { readonly state: UploadState }) {
  return <progress aria-label={name} max={1} value={total === 0 ? 0 : done / total} />;
}

function Dismiss() {
  return (
    <button type="button" class="plain" onClick={cancelUpload}>
      {words.value.dismiss}
    </button>
  );
}

/** Designs that are sealed in this browser and were not uploaded completely. */
export function Interrupted({
  prepared,
  again,
}: {
  readonly prepared: readonly PreparedDesign[];
  readonly again: () => void;
}) {
  const w = words.value;
  const own = identity.value;
  const uploads = session.view.value?.uploads;
  if (own === undefined || prepared.length === 0) return undefined;
  return (
    <Card title={w.interruptedTitle}>
      {prepared.map(({ state: { design, name, size }, remove }) => (
        <div key={design} class="row" data-interrupted={design}>
          <p>{w.interruptedText(name, formatBytes(size))}</p>
          <button
            type="button"
            disabled={uploads === undefined}
            onClick={() => uploads !== undefined && startUpload(own, uploads, { design, name })}
          >
            {w.continueUpload}
          </button>
          <button type="button" class="plain" onClick={() => void remove().then(again)}>
            {w.removeSealed}
          </button>
        </div>
      ))}
    </Card>
  );
}
