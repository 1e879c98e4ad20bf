import { useState } from 'preact/hooks';

/** A place to drop a file on, or to choose one. */
export function Drop({
  title,
  text,
  onFile,
}: {
  readonly title: string;
  readonly text: string;
  readonly onFile: (file: File) => void;
}) {
  const [over, setOver] = useState(false);
  const drag = (inside: boolean) => (event: DragEvent) => {
    event.preventDefault();
    setOver(inside);
  };
  return (
    <label
      class={over ? 'drop over' : 'drop'}
      onDragOver={drag(true)}
      onDragLeave={drag(false)}
      onDrop={(event) => {
        drag(false)(event);
        const file = event.dataTransfer?.files[0];
        if (file !== undefined) onFile(file);
      }}
    >
      <strong>{title}</strong>
      <span class="quiet">{text}</span>
      <input
        type="file"
        onChange={(event) => {
          const file = event.currentTarget.files?.[0];
          if (file !== undefined) onFile(file);
        }}
      />
    </label>
  );
}
