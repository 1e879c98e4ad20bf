import { useState } from 'preact/hooks';
import { PlateDrop } from '../plates/plate-drop.tsx';
import { LayerView } from './layer-view.tsx';
import { viewWords } from './words.ts';

/** Any G-code file of this computer. Nobody has to be signed in: nothing leaves the page. */
export function ViewPage() {
  const w = viewWords.value;
  const [file, setFile] = useState<File>();
  return (
    <>
      <h1>{w.viewTitle}</h1>
      <p>{w.viewText}</p>
      {file === undefined ? (
        <PlateDrop title={w.chooseTitle} text={w.chooseText} onFile={setFile} />
      ) : (
        <>
          <p>
            <strong>{file.name}</strong>
          </p>
          <LayerView source={file} />
          <div>
            <button type="button" class="plain" onClick={() => setFile(undefined)}>
              {w.another}
            </button>
          </div>
        </>
      )}
    </>
  );
}
