import { GrantForm } from './grant-form.tsx';
import { useLive } from './live.ts';
import { Age } from './machines-page.tsx';
import { readOwnDesigns } from './own-designs.ts';
import { Card, Facts, Shown } from './parts.tsx';
import { session } from './session.ts';
import { Interrupted, UploadCard } from './upload-card.tsx';
import { isUnderWay, upload } from './uploads.ts';
import { formatBytes, words } from './words.ts';

export function DesignsPage() {
  const w = words.value;
  const live = useLive('designs', readOwnDesigns);
  const under = upload.value;
  const stored = under?.step === 'stored' ? under.design?.design : undefined;
  return (
    <>
      <h1>{w.designs}</h1>
      {session.view.value?.uploads === undefined ? <p class="quiet">{w.noUploads}</p> : <UploadCard />}
      {stored === undefined ? undefined : <GrantForm key={stored} design={stored} open done={live.again} />}
      <Age live={live} />
      <Shown loaded={live}>
        {({ designs, prepared }) => (
          <>
            {under !== undefined && isUnderWay(under) ? undefined : (
              <Interrupted prepared={prepared} again={live.again} />
            )}
            {designs.length === 0 ? <p>{w.noDesignsYet}</p> : undefined}
            {designs.map(({ design, name, state, kind, size }) => (
              <Card key={design} kind="design">
                <h2>
                  {name} <span class={`badge ${state === 'refused' ? 'refused' : ''}`}>{state}</span>
                </h2>
                <Facts
                  rows={[
                    [w.sizeOf, formatBytes(size)],
                    [w.kindOf, kind],
                    [w.addedOn, design, 'code'],
                  ]}
                />
              </Card>
            ))}
          </>
        )}
      </Shown>
    </>
  );
}
