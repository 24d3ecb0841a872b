#!/usr/bin/env python3
"""Writes results.schema.json and interpretation.schema.json from the structs that serde writes, with their documentation.

Run it after a field was added; the test of the smoke run compares the schemas with real output, so that neither this
script nor what it reads has to be believed. It knows the forms of Rust and serde that these structs use, and no more.
"""

import glob, json, os, re, sys

root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "")
types = {}


def crate_of(path):
    return os.path.relpath(path, root).split(os.sep)[0]


def parse(path):
    """Every public type of a file that serde writes."""
    s = open(path).read()
    cut = s.find("#[cfg(test)]\nmod tests")
    if cut > 0:
        s = s[:cut]
    for m in re.finditer(
        r"((?:^[ ]*(?:///[^\n]*|#\[[^\n]*\])\n)*)^pub(?:\([a-z]+\))? (struct|enum) (\w+)(?:<[^>{]*>)?\s*(\{|\(|;)",
        s,
        re.M,
    ):
        pre, kind, name, br = m.groups()
        if "Serialize" not in pre:
            continue
        i = m.end() - 1
        body = ""
        if br != ";":
            depth = 0
            j = i
            o, c = ("{", "}") if br == "{" else ("(", ")")
            while True:
                if s[j] == o:
                    depth += 1
                elif s[j] == c:
                    depth -= 1
                    if depth == 0:
                        break
                j += 1
            body = s[i + 1 : j]
        types.setdefault(name, []).append(dict(path=path, pre=pre, kind=kind, name=name, br=br, body=body))


for p in glob.glob(root + "*/src/**/*.rs", recursive=True):
    if "dina-report" not in p:
        parse(p)


def doc(pre):
    """The documentation of an item, without links."""
    d = " ".join(l.strip()[3:].strip() for l in pre.split("\n") if l.strip().startswith("///"))
    d = re.sub(r"\[`([^`\]]+)`\](\([^)]*\))?", r"`\1`", d)
    d = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", d)
    return d.strip()


def serde(pre):
    return " ".join(re.findall(r"#\[serde\((.*)\)\]", pre))


def split_items(body):
    """Parts of a body that commas divide, outside of brackets, comments and attributes."""
    out = []
    depth = 0
    cur = ""
    i = 0
    while i < len(body):
        ch = body[i]
        if body.startswith("//", i):
            j = body.find("\n", i)
            j = len(body) if j < 0 else j
            cur += body[i:j]
            i = j
            continue
        if body.startswith("#[", i):
            j = i
            d = 0
            while True:
                if body[j] == "[":
                    d += 1
                if body[j] == "]":
                    d -= 1
                    if d == 0:
                        break
                j += 1
            cur += body[i : j + 1]
            i = j + 1
            continue
        if ch in "({[<":
            depth += 1
        if ch in ")}]>":
            depth -= 1
        if ch == "," and depth == 0:
            out.append(cur)
            cur = ""
        else:
            cur += ch
        i += 1
    if cur.strip():
        out.append(cur)
    return out


def fields(body):
    """Attributes, name and type of every field."""
    res = []
    for it in split_items(body):
        pre = "\n".join(l for l in it.split("\n") if l.strip().startswith(("///", "#[")))
        rest = " ".join(
            l.strip() for l in it.split("\n") if l.strip() and not l.strip().startswith(("//", "#["))
        )
        m = re.match(r"(pub(\([a-z:() ]+\))? )?(?:r#)?(\w+)\s*:\s*(.+)$", rest.strip())
        if not m:
            print("?? field", rest, file=sys.stderr)
            continue
        res.append((pre, m.group(3), m.group(4).strip()))
    return res


def case(name, how):
    """A variant as `rename_all` has it."""
    snake = re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()
    return {"snake_case": snake, "lowercase": name.lower(), "kebab-case": snake.replace("_", "-")}.get(
        how, name
    )


defs = {}
prefer = {"Similarity": "trust/agreement", "Cascade": "trust", "Check": "trust"}


def pick(name, near):
    """The type of a name, as it is seen from a file."""
    c = types.get(name)
    if not c:
        raise KeyError(name)
    if len(c) == 1:
        return c[0]
    key = prefer.get(name)
    for x in c:
        if key and key in x["path"]:
            return x
    crate = crate_of(near)
    same = [x for x in c if crate_of(x["path"]) == crate]
    if len(same) == 1:
        return same[0]
    raise Exception(f'ambiguous {name} near {near}: {[x["path"] for x in c]}')


def ty(t, near):
    """The schema of a Rust type."""
    t = t.strip()
    t = re.sub(r"^&\'\w+ ", "", t)
    m = re.match(r"^Option<(.*)>$", t)
    if m:
        inner = ty(m.group(1), near)
        if (
            "type" in inner
            and isinstance(inner["type"], str)
            and set(inner) <= {"type", "minimum", "items", "pattern", "minItems", "maxItems"}
        ):
            return {**inner, "type": [inner["type"], "null"]}
        return {"anyOf": [inner, {"type": "null"}]}
    m = re.match(r"^Vec<(.*)>$", t)
    if m:
        return {"type": "array", "items": ty(m.group(1), near)}
    m = re.match(r"^Box<(.*)>$", t)
    if m:
        return ty(m.group(1), near)
    m = re.match(r"^\[(.*); *(\d+)\]$", t)
    if m:
        return {
            "type": "array",
            "items": ty(m.group(1), near),
            "minItems": int(m.group(2)),
            "maxItems": int(m.group(2)),
        }
    m = re.match(r"^BTreeMap<String, *(.*)>$", t)
    if m:
        return {"type": "object", "additionalProperties": ty(m.group(1), near)}
    m = re.match(r"^\((.*)\)$", t)
    if m:
        parts = [ty(x, near) for x in split_items(m.group(1))]
        return {"type": "array", "prefixItems": parts, "minItems": len(parts), "maxItems": len(parts)}
    if t in ("u8", "u16", "u32", "u64", "usize"):
        return {"type": "integer", "minimum": 0}
    if t in ("i32", "i64", "isize"):
        return {"type": "integer"}
    if t in ("f32", "f64"):
        return {"type": "number"}
    if t == "bool":
        return {"type": "boolean"}
    if t in ("String", "str", "&'static str"):
        return {"type": "string"}
    if t == "PathBuf":
        return {"type": "string"}
    if t == "ContentHash":
        return {"type": "string", "pattern": "^[0-9a-f]{64}$"}
    name = t.split("::")[-1]
    return ref(name, near)


def ref(name, near):
    x = pick(name, near)
    build(x)
    return {"$ref": "#/$defs/" + x["name"]}


def obj(body, near, extra=""):
    """The schema of the fields of a struct or variant."""
    props = {}
    req = []
    for pre, f, t in fields(body):
        sd = serde(pre)
        if re.search(r"\bskip\b(?!_)", sd):
            continue
        if "flatten" in sd:
            x = pick(t.split("::")[-1], near)
            sub = obj(x["body"], x["path"])
            props.update(sub["properties"])
            req += sub.get("required", [])
            continue
        mm = re.search(r'rename *= *"([^"]+)"', sd)
        if mm:
            f = mm.group(1)
        p = ty(t, near)
        d = doc(pre)
        props[f] = {"description": d, **p} if d else p
        if "skip_serializing_if" not in sd:
            req.append(f)
    r = {"type": "object", "properties": props, "required": req, "additionalProperties": False}
    return r


def build(x):
    """Adds the schema of a type, and of all that it holds, to the definitions."""
    if x["name"] in defs:
        return
    defs[x["name"]] = {}
    sd = serde(x["pre"])
    d = doc(x["pre"])
    mm = re.search(r'into *= *"([^"]+)"', sd)
    if mm:
        s = ty(mm.group(1), x["path"])
    elif x["kind"] == "struct" and x["br"] == "(":
        inner = re.sub(r"^pub(\([a-z]+\))? ", "", x["body"].strip()).rstrip(",")
        s = ty(inner, x["path"])
    elif x["kind"] == "struct":
        s = obj(x["body"], x["path"])
    else:
        how = re.search(r'rename_all *= *"([^"]+)"', sd)
        how = how.group(1) if how else ""
        tag = re.search(r'\btag *= *"([^"]+)"', sd)
        unt = "untagged" in sd
        units = []
        alts = []
        for it in split_items(x["body"]):
            pre = "\n".join(l for l in it.split("\n") if l.strip().startswith(("///", "#[")))
            rest = " ".join(
                l.strip() for l in it.split("\n") if l.strip() and not l.strip().startswith(("//", "#["))
            ).strip()
            if not rest:
                continue
            m = re.match(r"(\w+)\s*(\{(.*)\}|\((.*)\))?$", rest, re.S)
            vn = m.group(1)
            rn = re.search(r'rename *= *"([^"]+)"', serde(pre))
            vname = rn.group(1) if rn else case(vn, how)
            vd = doc(pre)
            if m.group(2) is None:
                if tag:
                    alts.append(
                        {
                            "description": vd,
                            "type": "object",
                            "properties": {tag.group(1): {"const": vname}},
                            "required": [tag.group(1)],
                            "additionalProperties": False,
                        }
                    )
                else:
                    units.append((vname, vd))
            elif m.group(3) is not None:
                # body with docs
                b = it[it.index("{") + 1 : it.rindex("}")]
                o = obj(b, x["path"])
                if tag:
                    o["properties"] = {tag.group(1): {"const": vname}, **o["properties"]}
                    o["required"].insert(0, tag.group(1))
                    alts.append({"description": vd, **o})
                elif unt:
                    alts.append(o)
                else:
                    alts.append(
                        {
                            "description": vd,
                            "type": "object",
                            "properties": {vname: o},
                            "required": [vname],
                            "additionalProperties": False,
                        }
                    )
            else:
                inner = ty(m.group(4), x["path"])
                if unt:
                    alts.append(inner)
                elif tag:
                    raise Exception("tag newtype " + x["name"])
                else:
                    alts.append(
                        {
                            "description": vd,
                            "type": "object",
                            "properties": {vname: inner},
                            "required": [vname],
                            "additionalProperties": False,
                        }
                    )
        if units and not alts:
            s = {"enum": [u for u, _ in units]}
        else:
            if units:
                alts.insert(0, {"enum": [u for u, _ in units]})
            s = {"anyOf": alts}
    defs[x["name"]] = {"description": d, **s} if d else s


def schema(name, file, title, desc):
    """The schema of a file."""
    global defs
    defs = {}
    x = [t for t in types[name] if "dina-study" in t["path"]][0]
    build(x)
    top = defs.pop(name)
    top["description"] = desc
    out = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:dina:schema:{file}:1",
        "title": title,
        **top,
    }
    out["properties"]["schema"] = {
        "description": out["properties"]["schema"].get("description", ""),
        "const": 1,
    }
    out["$defs"] = dict(sorted(defs.items()))
    return out


import os

if __name__ == "__main__":
    d = root + "dina-study/schema/"
    os.makedirs(d, exist_ok=True)
    for n, f, t, de in (
        (
            "Results",
            "results",
            "results.json",
            "What the main job found: identification by every decoder, comparisons, claims, and what they depend on.",
        ),
        (
            "Interpretation",
            "interpretation",
            "interpretation.json",
            "The analyses of one model of one fold. Arrays are in maps.safetensors, under the names given here.",
        ),
    ):
        open(d + f + ".schema.json", "w").write(
            json.dumps(schema(n, f, t, de), indent=2, ensure_ascii=False) + "\n"
        )
