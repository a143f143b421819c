# What files of runs of evon mean, in double: whole.py export RUN DIR | merge MERGED RUN... | turn BEFORE AFTER,
# RUN being a checkpoint; end_matrices.sh asks.
import array, json, math, sys

def read(path):
    raw = open(path, "rb").read()
    n = int.from_bytes(raw[:8], "little")
    header, data = json.loads(raw[8:8 + n]), raw[8 + n:]
    header.pop("__metadata__")
    return {k: (array.array("f", data[slice(*t["data_offsets"])]), t["shape"])
            for k, t in header.items()}

def squares(q, name, n):
    values = q.get(name)
    return [[values[0][i * n + j] ** 2 if values else float(i == j) for j in range(n)] for i in range(n)]

def product(a, b):
    turned = list(zip(*b))
    return [[sum(x * y for x, y in zip(row, column)) for column in turned] for row in a]

# What single weights have of what h has in the bases: S_L f(h) S_R'.
def of_weights(q, name, f):
    values, shape = q[name]
    parts, rows, columns = shape if len(shape) == 3 else [1] + shape
    out = [[] for _ in range(rows)]
    for k in range(parts):
        ending = f".{k}" if parts > 1 else ""
        x = [[f(values[(k * rows + i) * columns + j]) for j in range(columns)] for i in range(rows)]
        x = product(squares(q, f"basis.{name}.left{ending}", rows), x)
        x = product(x, list(zip(*squares(q, f"basis.{name}.right{ending}", columns))))
        for row, more in zip(out, x): row += more
    return [v for row in out for v in row]

def state(run): return json.load(open(run + "/state.json"))

def close(found, expected, what):
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        if not abs(a - b) <= 2e-5 * abs(b) + 1e-7: sys.exit(f"{what}: element {i}: {b} expected, {a} found")

def check_export(run, directory):
    q, s = read(run + "/posterior.safetensors"), state(run)
    there = read(directory + "/posterior.safetensors")
    for name, (values, shape) in read(run + "/model.safetensors").items():
        found = there[name][0]
        if name not in q: expected = [0.0] * len(values)
        elif len(shape) == 1 or name.startswith("w"):
            expected = [1 / math.sqrt(s["lambda"] * (h + s["delta"][name])) for h in q[name][0]]
        else:
            expected = of_weights(q, name, lambda h: 1 / (s["lambda"] * (h + s["delta"][name])))
            expected = [math.sqrt(v) for v in expected]
        close(found, expected, name)

# Without a base, by precision; lambdas are the same.
def check_merge(merged, *runs):
    q, m = read(merged + "/posterior.safetensors"), read(merged + "/model.safetensors")
    s, means = state(merged), [read(r + "/model.safetensors") for r in runs]
    posteriors = [read(r + "/posterior.safetensors") for r in runs]
    for name, (values, shape) in m.items():
        ms = [x[name][0] for x in means]
        if name not in q:
            close(values, [sum(v) / len(ms) for v in zip(*ms)], name)
            continue
        plain = len(shape) == 1 or name.startswith("w")
        p = [[h + s["delta"][name] for h in (x[name][0] if plain else of_weights(x, name, float))]
             for x in posteriors]
        close(values, [sum(a * b for a, b in zip(w, v)) / sum(w) for w, v in zip(zip(*p), zip(*ms))], name)
        h = [sum(w) - s["delta"][name] for w in zip(*p)]
        close(q[name][0] if plain else of_weights(q, name, float), h, name)
    for name, (values, shape) in q.items():
        if name.startswith("basis."):
            close(values, [float(i % (shape[0] + 1) == 0) for i in range(len(values))], name)
    for values, _ in read(merged + "/optimizer.safetensors").values():
        if any(values): sys.exit("arrays of 0 expected")

# h of weights, turned into the first bases: S_L' h S_R.
def check_turn(before, after):
    old, new = read(before + "/posterior.safetensors"), read(after + "/posterior.safetensors")
    moved = 0.0
    for name, (values, shape) in old.items():
        if name.startswith("basis."): continue
        parts, rows, columns = shape if len(shape) == 3 else [1] + shape
        for k in range(parts):
            ending, at = f".{k}" if parts > 1 else "", k * rows * columns
            x = [values[at + i * columns:at + (i + 1) * columns] for i in range(rows)]
            x = product(list(zip(*squares(new, f"basis.{name}.left{ending}", rows))), x)
            x = [v for row in product(x, squares(new, f"basis.{name}.right{ending}", columns)) for v in row]
            close(new[name][0][at:at + rows * columns], x, name)
            moved = max([moved] + [abs(a - b) for a, b in zip(x, values[at:at + rows * columns])])
    if moved < 1e-3: sys.exit("h did not move")

{"turn": check_turn, "export": check_export, "merge": check_merge}[sys.argv[1]](*sys.argv[2:])
