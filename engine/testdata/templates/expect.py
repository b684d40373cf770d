#!/usr/bin/env python3
"""Writes expected.json: every template here rendered by Jinja set up as Transformers sets it up (needs only `jinja2`)."""
import datetime, json, os
import jinja2, jinja2.ext, jinja2.nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = os.path.dirname(os.path.abspath(__file__))
NOW = datetime.datetime(2026, 3, 7, 9, 5, 2)
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}


class Marks(jinja2.ext.Extension):
    """`{% generation %}` renders what is within."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_within"), [], [], body).set_lineno(line)

    def _within(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Marks, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


def user(content): return {"role": "user", "content": content}
def system(content): return {"role": "system", "content": content}
def assistant(content, **more): return {"role": "assistant", "content": content, **more}
def call(name, arguments, id="abcdefghi"): return {"type": "function", "id": id, "function": {"name": name, "arguments": arguments}}


TOOLS = [
    {"type": "function", "function": {"name": "weigh", "description": "Weighs a row.\nIn <grams> & \"ounces\".", "parameters": {
        "type": "object", "properties": {"row": {"type": "integer"}, "unit": {"enum": ["g", "oz"]}, "tags": {"type": "array", "items": {"type": ["string", "null"]}}},
        "required": ["row"]}}},
    {"type": "function", "function": {"name": "dig", "description": "D\u00fcgt \u6f22\u5b57.", "parameters": {"type": "object", "properties": {}}, "return": {"type": "string"}}},
]
TALK = [user("  Who cleaned this row?  "), assistant("Nobody.\n"), user("Then who is \u00abpaid\u00bb? \U0001f642")]
WITH_SYSTEM = [system(" Be brief.\n")] + TALK
CALLS = [user("Weigh row 3."), {"role": "assistant", "content": None, "tool_calls": [call("weigh", {"row": 3, "unit": "g", "deep": {"z": 1, "a": [1.5, None, True]}})]},
         {"role": "tool", "name": "weigh", "tool_call_id": "abcdefghi", "content": "12.5"}, assistant("12.5 g"), user("Thanks")]
TWO = [user("Both"), {"role": "assistant", "content": "Now.", "tool_calls": [call("weigh", {"row": 1}), call("dig", {}, "123456789")]},
       {"role": "tool", "tool_call_id": "abcdefghi", "content": "1"}, {"role": "tool", "tool_call_id": "123456789", "content": "2"}]
THOUGHT = [user("a"), assistant("<think>\nold\n</think>\n\nb"), user("c"), assistant("<think>\nnew\n</think>\n\nd"), user("<tool_response>x</tool_response>"), assistant("e", reasoning_content="\nwhy\n")]
ODD = [user({"z": "\u00e9<>&'\"\\\u2028\u007f", "a": ["\x00\x1f\b\f\n\r\t/", 1, 2.5, None, False, {"y": {}, "x": []}]})]

CASES = [
    ("header-date", dict(messages=TALK)),
    ("header-date", dict(messages=WITH_SYSTEM, add_generation_prompt=True)),
    ("header-date", dict(messages=WITH_SYSTEM, date_string="1 May 2020")),
    ("header-date", dict(messages=CALLS, tools=TOOLS, add_generation_prompt=True)),
    ("header-date", dict(messages=CALLS, tools=TOOLS, tools_in_user_message=True)),
    ("header-date", dict(messages=TWO, tools=TOOLS)),
    ("im-tools", dict(messages=TALK, add_generation_prompt=True)),
    ("im-tools", dict(messages=WITH_SYSTEM)),
    ("im-tools", dict(messages=CALLS, tools=TOOLS, add_generation_prompt=True)),
    ("im-tools", dict(messages=TWO, tools=TOOLS)),
    ("im-thinking", dict(messages=THOUGHT)),
    ("im-thinking", dict(messages=TALK, add_generation_prompt=True, enable_thinking=False)),
    ("im-thinking", dict(messages=TALK, add_generation_prompt=True, enable_thinking=True)),
    ("im-thinking", dict(messages=TWO)),
    ("inst", dict(messages=WITH_SYSTEM)),
    ("inst", dict(messages=CALLS, tools=TOOLS)),
    ("inst", dict(messages=TWO)),
    ("inst", dict(messages=[user("a"), user("b")])),
    ("inst", dict(messages=[user("a"), {"role": "owl", "content": "b"}])),
    ("turns", dict(messages=TALK, add_generation_prompt=True)),
    ("turns", dict(messages=WITH_SYSTEM)),
    ("parts", dict(messages=[user([{"type": "text", "text": " one "}, {"type": "image"}, {"type": "text", "text": "two"}]), assistant("three"), {"role": "tool"}], add_generation_prompt=True)),
    ("parts", dict(messages=[user([{"type": "smell"}])])),
    ("types", dict(messages=WITH_SYSTEM, tools=TOOLS)),
    ("types", dict(messages=TALK)),
    ("marked", dict(messages=WITH_SYSTEM)),
    ("spaces", dict(messages=TALK)),
    ("python", dict(messages=TALK)),
    ("json", dict(messages=ODD)),
    ("grounded", dict(messages=WITH_SYSTEM, documents=[{"title": "Soil", "text": "Row by row, correction by correction.", "page": 3, "ok": True}, {"text": "short"}], citations=True)),
    ("grounded", dict(messages=TALK)),
] + [("faults", dict(messages=TALK, fault=fault)) for fault in
     ("none", "raise", "attribute", "add", "method", "filter-type", "call", "item", "concatenate", "none-add")]

if __name__ == "__main__":
    env, out = environment(), []
    for name, given in CASES:
        variables = {"tools": None, "documents": None, "add_generation_prompt": False, **SPECIAL, **given}
        case = {"template": name, **given}
        try:
            case["expected"] = env.from_string(open(os.path.join(HERE, name + ".jinja")).read()).render(**variables)
        except Exception as error:
            case["error"] = str(error)
        out.append(case)
    with open(os.path.join(HERE, "expected.json"), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(case) for case in out) + "\n]\n")
