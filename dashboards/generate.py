#!/usr/bin/env python3
"""Makes the Grafana dashboard mailroom.json of panels.toml; with --check only says whether it is current."""

import json
import pathlib
import re
import sys
import tomllib

HERE = pathlib.Path(__file__).parent
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
ON = 'job=~"$job", instance=~"$instance"'
HEIGHTS = {"stat": 4}
TYPES = {"graph": "timeseries", "bars": "bargauge", "states": "state-timeline"}
# The last value; for the rest Grafana's own defaults are good.
REDUCE = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
LEGEND = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
# Where your team reads docs/runbooks; dashboards/README.md says how to change it everywhere.
RUNBOOKS = "https://mailroom.example/docs/runbooks"


def main():
    target = HERE / "mailroom.json"
    made = json.dumps(dashboard(tomllib.loads((HERE / "panels.toml").read_text())), indent=2, ensure_ascii=False) + "\n"
    if "--check" not in sys.argv[1:]:
        target.write_text(made)
    elif target.read_text() != made:
        sys.exit("dashboards/mailroom.json is not what dashboards/panels.toml says: run dashboards/generate.py")


def dashboard(source):
    return {
        "title": "Mailroom",
        "uid": "mailroom",
        "description": "Is mail going out, how late, what fails and why, and who is to act.",
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "graphTooltip": 1,
        "tags": ["mailroom"],
        "links": [link("Runbooks", "${runbooks}/README.md")],
        "annotations": {"list": [alerts()]},
        "templating": {"list": variables()},
        "panels": list(panels(source["row"])),
    }


def link(title, url):
    return {
        "title": title,
        "url": url,
        "type": "link",
        "icon": "doc",
        "tooltip": "",
        "tags": [],
        "asDropdown": False,
        "includeVars": False,
        "keepTime": False,
        "targetBlank": True,
    }


def alerts():
    return {
        "name": "Alerts",
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": 'ALERTS{alertname=~"Mailroom.*", alertstate="firing"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{instance}}",
        "step": "60s",
    }


def variables():
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        labels("job", "Job", "label_values(mailroom_build_info, job)", "mailroom"),
        labels("instance", "Worker", 'label_values(mailroom_build_info{job=~"$job"}, instance)', "$__all"),
        {
            "name": "runbooks",
            "label": "Runbooks",
            "type": "textbox",
            "query": RUNBOOKS,
            "current": {"text": RUNBOOKS, "value": RUNBOOKS},
            "hide": 2,
        },
    ]


def labels(name, label, query, current):
    """A variable of one label's values, of which any number may be chosen."""
    text = "All" if current == "$__all" else current
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": "variable"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": [text], "value": [current]},
    }


def panels(rows):
    number, y = 0, 0
    for row in rows:
        number += 1
        yield {"id": number, "type": "row", "title": row["title"], "collapsed": False, "panels": [], "gridPos": at(0, y, 24, 1)}
        x, y, deepest = 0, y + 1, 0
        for source in row["panel"]:
            if x + source["width"] > 24:
                x, y, deepest = 0, y + deepest, 0
            height = HEIGHTS.get(source["kind"], 8)
            number += 1
            yield {"id": number, "gridPos": at(x, y, source["width"], height)} | panel(source)
            x, deepest = x + source["width"], max(deepest, height)
        y += deepest


def at(x, y, width, height):
    return {"x": x, "y": y, "w": width, "h": height}


def panel(source):
    kind = source["kind"]
    if kind == "text":
        return {"type": "text", "title": source["title"], "options": {"mode": "markdown", "content": source["content"].strip()}}
    legends = source.get("legends", ["__auto"] * len(source["queries"]))
    return {
        "type": TYPES.get(kind, kind),
        "title": source["title"],
        "description": re.sub(r"\[\[(\w+)\]\]", r"[\1](${runbooks}/\1.md)", source["description"]),
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": field(source), "overrides": []},
        "options": options(source),
        "targets": [target(*one, kind) for one in zip("ABCDEF", source["queries"], legends, strict=False)],
    }


def target(letter, query, legend, kind):
    return {
        "refId": letter,
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": query.replace("@", ON),
        "legendFormat": legend,
        "instant": kind == "bars",
        "range": kind != "bars",
    }


def field(source):
    """How values are written, and from where on they are bad."""
    made = {"unit": source["unit"], "min": 0, "thresholds": {"mode": "absolute", "steps": steps(source)}}
    if "decimals" in source:
        made["decimals"] = source["decimals"]
    if "values" in source:
        texts = {value: {"text": text, "color": colour, "index": n} for n, (value, (text, colour)) in enumerate(source["values"].items())}
        made["mappings"] = [{"type": "value", "options": texts}]
    if source["kind"] == "graph":
        made["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 20 if source.get("stack") else 5,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if source.get("stack") else "none", "group": "A"},
            "scaleDistribution": {"type": "log", "log": 10} if source.get("log") else {"type": "linear"},
            "thresholdsStyle": {"mode": "dashed" if "limit" in source else "off"},
        }
    elif source["kind"] == "states":
        made["custom"] = {"fillOpacity": 70, "lineWidth": 0}
    elif source["kind"] == "bars":
        made |= {"noValue": "none", "color": {"mode": "fixed", "fixedColor": "orange"}}
    # A minimum of 0 has no place on a logarithmic axis.
    if source.get("log"):
        del made["min"]
    return made


def steps(source):
    """The first colour counts from below."""
    if "limit" in source:
        return [{"color": "green", "value": None}, {"color": "red", "value": source["limit"]}]
    named = source.get("steps", {"green": 0})
    return [{"color": colour, "value": value if n else None} for n, (colour, value) in enumerate(named.items())]


def options(source):
    match source["kind"]:
        case "stat":
            return REDUCE | {"colorMode": "background", "graphMode": "none", "textMode": source.get("text", "auto")}
        case "bars":
            return REDUCE | {"orientation": "horizontal", "displayMode": "basic", "showUnfilled": False}
        case "states":
            return {"mergeValues": True, "showValue": "never", "legend": LEGEND, "tooltip": {"mode": "single", "sort": "none"}}
        case _:
            return {"legend": LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}}


main()
