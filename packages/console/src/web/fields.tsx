/** The name of a person or of a thing. */
export function NameField({
  label,
  value,
  set,
}: {
  readonly label: string;
  readonly value: string;
  readonly set: (value: string) => void;
}) {
  return (
    <label>
      {label}
      <input
        type="text"
        required
        maxLength={60}
        autocomplete="off"
        value={value}
        onInput={(event) => set(event.currentTarget.value)}
      />
    </label>
  );
}

/** Some of several, in the order of all. Without names, each is shown as it is written in the API. */
export function Choices<T extends string>({
  label,
  of,
  names,
  chosen,
  choose,
}: {
  readonly label: string;
  readonly of: readonly T[];
  readonly names?: Readonly<Record<T, string>>;
  readonly chosen: readonly T[];
  readonly choose: (chosen: readonly T[]) => void;
}) {
  const toggle = (changed: T, on: boolean) => choose(of.filter((one) => (one === changed ? on : chosen.includes(one))));
  return (
    <fieldset>
      <legend>{label}</legend>
      {of.map((one) => (
        <label key={one} class={names === undefined ? 'tick mono' : 'tick'}>
          <input
            type="checkbox"
            checked={chosen.includes(one)}
            onChange={(event) => toggle(one, event.currentTarget.checked)}
          />{' '}
          {names?.[one] ?? one}
        </label>
      ))}
    </fieldset>
  );
}

/** A number of days, from 1. */
export function Days({
  label,
  value,
  most,
  set,
}: {
  readonly label: string;
  readonly value: number;
  readonly most: number;
  readonly set: (days: number) => void;
}) {
  return (
    <label>
      {label}
      <input
        type="number"
        required
        min={1}
        max={most}
        value={value}
        onInput={(event) => set(event.currentTarget.valueAsNumber)}
      />
    </label>
  );
}
