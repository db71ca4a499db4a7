#!/usr/bin/env python3
"""Writes tests/chat/golden/snippets.json: what transformers' own template compiler makes of many small templates; and
tests/data/golden/conversations.json: token ids and loss masks of conversations with the tokenizer of shared/data/tokenizers/minimind.

    pip install transformers==5.3.0 jinja2==3.1.6
    python tools/golden/chat.py [FOLDER OF THE TOKENIZER]

Each row of the first is {"template", "variables", "text"} or, where it refuses, {"template", "variables", "error"} with the error's text.
"""

import json
import pathlib
import sys

from transformers import AutoTokenizer
from transformers.utils.chat_template_utils import _compile_jinja_template

OUT = pathlib.Path(__file__).resolve().parent.parent.parent / "tests/chat/golden/snippets.json"

VARIABLES = {
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "  Hi \n"}, {"role": "assistant", "content": "Hello, wörld 你好 🙂"},
                 {"role": "user", "content": "Bye"}],
    "tools": [{"type": "function", "function": {"name": "get_weather", "description": "<b>Weather</b> & \"more\" 'here'",
                                                "parameters": {"type": "object", "properties": {"z": {"type": "string"}, "a": {"enum": ["x", 1, 2.5, True, None]}}, "required": []}}}],
    "n": 7, "m": -3, "f": 2.5, "big": 123456789012, "tiny": 1e-7, "huge": 1e22, "whole": 3.0, "yes": True, "no": False, "nothing": None, "empty": "", "s": "Hello World",
    "u": "äöü ß ΑΣ ǆ 你好 🙂 e\u0301", "lines": "a\nb\r\n\n  c\n", "q": "it's \"q\" \\ \t\n\u00a0\u200b", "l": [3, 1, 2], "words": ["b", "A", "c", "a"], "nested": [[1, 2], [3, [4, {"k": "v"}]]],
    "d": {"b": 1, "a": [1, 2], "C": None, "items": "shadowed"}, "people": [{"name": "Ann", "age": 30, "x": {"y": [1, 2]}}, {"name": "bob", "age": 25}, {"name": "Cid", "age": 30}],
    "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True,
}

EXPRESSIONS = r"""
n + 1|n - 10|n * m|n / 2|n // 2|m // 2|n % 3|m % 5|m % -5|n ** 2|2 ** -1|2 ** 3 ** 2|-n ** 2|-2 ** 2|7.5 // 2|-7.5 // 2|7.5 % 2|-7.5 % 2|f * 2|n / 1|1 / 3|2 / 3|10 / 5|0.1 + 0.2|1e3|1.5e-5|1e16|1e15|123456.789e3|1_000|0x1F|0b101|0o17|1.0|100000000000000000.0
tiny|huge|whole|big|-0.0|f|yes|no|nothing|undefined_name|[undefined_name, nothing, yes]|1 == 1.0|true == 1|'a' < 'b'|[1, 2] < [1, 3]|1 < 2 < 3|1 < 3 < 2|not yes|not not n|yes and n|no and n|no or empty or 'x'|nothing or 0|n if yes else m|n if no|(n if no) is undefined|'a' ~ 1 ~ none ~ true ~ 1.0
'a' + 'b'|'a' 'b' "c"|'ab' * 3|3 * 'ab'|[1] * 2|[1] + [2]|(1, 2) + (3,)|(1,)|()|(1)|[]|{}|{'a': 1, 2: [3]}|1, 2|'a' in 'abc'|'z' not in 'abc'|1 in [1, 2]|'b' in d|'zz' in d|1 in (2, 1)|n is odd|n is even|n is divisibleby 7|n is divisibleby(2)|n is not number|s is string|d is mapping|l is sequence|d is sequence|s is sequence|n is sequence|l is iterable|n is iterable|s is iterable|nothing is none|nothing is not none|yes is true|n is true|no is false|yes is boolean|n is boolean|n is integer|f is integer|f is float|yes is integer|yes is number|x is defined|x.y is defined|d.zz is defined|d.b is defined|d is callable|n is eq 7|n is equalto 7|n is ne 7|n is gt 3|n is lt 3|n is ge 7|n is le 7|n is in [7]|n is sameas 7|'abc' is lower|'ABC' is upper|'a1' is lower|'1' is lower|x is undefined|x is none
s[0]|s[-1]|s[1:3]|s[:-3]|s[-3:]|s[::-1]|s[::2]|s[10:2:-2]|s[100:]|s[:100]|s[-100:2]|u[6:9]|u[-5:]|l[0]|l[-1]|l[1:]|l[::-1]|l[5]|l[0:0]|(1,2,3)[1:]|range(10)[2:4]|range(5)|range(0, 10, 3)|range(3)|list(range(3))|range(5, 0, -2) | list|range(0)|d['b']|d.b|d['zz']|d.zz|d.items|d['items']|d.items()|d.keys()|d.values()|d.get('b')|d.get('zz')|d.get('zz', 5)|d.get('C', 5)|people[0].name|people[0]['x'].y[1]|people.0.name|nested[1][1][1].k|nothing[1:]|n[:2]|d[1:]|s["a":]|undefined_name[1:]|s.foo|none.foo
s.upper()|s.lower()|s.title()|s.capitalize()|s.swapcase()|"it's a dog's".title()|u.upper()|u.lower()|u.title()|u.capitalize()|'  x '.strip()|'  x '.lstrip()|'  x '.rstrip()|'xxaxx'.strip('x')|'abcab'.lstrip('ab')|'abcab'.rstrip('ab')|'a,b,,c'.split(',')|'a b  c '.split()|'a b  c '.split(' ')|'a,b,c'.split(',', 1)|'a,b,c'.rsplit(',', 1)|' a b c '.split(none, 1)|' a b c '.rsplit(none, 1)|lines.splitlines()|lines.splitlines(true)|'abc'.startswith('ab')|'abc'.startswith(('x', 'a'))|'abc'.endswith('c')|'abc'.startswith('b', 1)|'abcabc'.find('c')|'abcabc'.rfind('c')|'abc'.find('z')|u.find('你')|'abc'.index('c')|'aXbX'.replace('X', '-')|'aXbX'.replace('X', '-', 1)|'abc'.replace('', '-')|', '.join(['a', 'b'])|'-'.join('abc')|'abcabc'.count('b')|'aaa'.count('aa')|'abc'.count('')|'a-b-c'.partition('-')|'a-b-c'.rpartition('-')|'abc'.partition('z')|'7'.zfill(3)|'-7'.zfill(4)|'ab'.center(5, '*')|'ab'.center(7)|'abc'.center(6, '.')|'ab'.ljust(4) ~ '|'|'ab'.rjust(4)|'prefix-x'.removeprefix('prefix-')|'x.txt'.removesuffix('.txt')|'123'.isdigit()|'12a'.isdigit()|'abc'.isalpha()|'ab1'.isalnum()|' '.isspace()|''.isspace()|'Ab'.isupper()|'AB1'.isupper()|'ab'.islower()|'½'.isnumeric()|'²'.isdigit()|'a\tb'.expandtabs(4)|'straße'.upper()|'ΌΣΟΣ'.lower()
'%s and %d' % ('x', 3)|'%05.1f|%-5d|%+d|%x|%X|%o|%e|%g|%%' % (f, n, n, 255, 255, 8, 12345.678, 0.0001)|'%r' % 'a'|'%s' % [1]|'%(a)s' % {'a': 1}|'%5s|%-5s|%.2s' % ('ab', 'ab', 'abc')|'%c' % 65|'%i' % 3.9|'{} {}'.format(1, 'a')|'{1}{0}'.format('a', 'b')|'{x}!'.format(x=s)|'{:>5}|{:<5}|{:^5}|{:*^7}'.format('a', 'b', 'c', 'd')|'{:.2f} {:05d} {:,} {:+} {:x} {:#x} {:b} {:e} {:%} {:g}'.format(3.14159, 42, 1234567, 5, 255, 255, 5, 1234.5, 0.25, 1e10)|'{0.name} {0[age]}'.format(people[0])|'{!r}'.format('a')|'{{}}'.format()|'{:{}}'.format('a', 4)|'{:.3}'.format('abcdef')|'{:.3}'.format(2.0)|'{:10.3f}|'.format(-2.5)|'%d' % 'x'|'%s %s' % 'x'|'%s' % ('a', 'b')
l | length|s | length|u | length|d | length|d | count|nothing | length|undefined_name | length|l | first|l | last|[] | first|s | first|l | join|l | join(', ')|people | join(', ', attribute='name')|'abc' | join('-')|words | sort|words | sort(case_sensitive=true)|words | sort(reverse=true)|people | sort(attribute='age') | map(attribute='name') | list|people | sort(attribute='age,name', reverse=true) | map(attribute='name') | join|l | sort | list|[1, 'a'] | sort|l | reverse | list|l | map("string") | reverse|s | reverse|l | max|l | min|words | max|[] | max|people | max(attribute='age')|l | sum|people | sum(attribute='age')|l | sum(start=10)|[1.5, 2] | sum|words | map('upper') | list|words | map('replace', 'a', 'z') | join|people | map(attribute='zz', default='none') | list|people | map(attribute='x.y.0', default=0) | list
people | selectattr('age', 'equalto', 30) | map(attribute='name') | list|people | selectattr('x') | list | length|people | selectattr('x', 'defined') | list | length|people | rejectattr('age', 'gt', 26) | list|l | select('odd') | list|l | reject('odd') | list|l | select('in', [1, 2]) | list|[0, 1, '', 'a'] | select | list|l | select('>', 1) | list|words | unique | list|[1, 1.0, true, 2] | unique | list|words | unique(case_sensitive=true) | list|d | dictsort|d | dictsort(case_sensitive=true)|{'a': 2, 'b': 1} | dictsort(by='value')|{'a': 2, 'b': 1} | dictsort(reverse=true)|d | items | list|d | list|s | list|undefined_name | list|nothing | list|undefined_name | items | list|n | items
undefined_name | default('x')|nothing | default('x')|nothing | default('x', true)|empty | d('x', boolean=true)|undefined_name | default|d.zz | default(d.b)|undefined_name.foo | default('x')|'  x ' | trim|'xxaxx' | trim('x')|n | string ~ 'a'|s | upper|s | lower|'hello wORLD-foo (bar' | title|'hELLO' | capitalize|u | title|'a<b>&"\'' | escape|'<b>' | safe|'aXb' | replace('X', '-')|'aaa' | replace('a', 'b', 2)|5 | replace(5, 6)
'3' | int|'3.7' | int|'x' | int|'x' | int(5)|'0x1F' | int(base=16)|'1F' | int(0, 16)|' 42 ' | int|'1_000' | int|f | int|-2.7 | int|yes | int|nothing | int|'3.5' | float|'x' | float|'x' | float(1.5)|'inf' | float|'nan' | float|'1e3' | float|2 | float|-3 | abs|-2.5 | abs|2.5 | round|3.5 | round|2.675 | round(2)|2.345 | round(1, 'ceil')|2.345 | round(1, 'floor')|42 | round|1234 | round(-2)|1250 | round(-2)|1350 | round(-2)|42.7 | round | int|0.5 | round|1e20 | round(2)|n | round(1)
lines | indent|lines | indent(2, true)|lines | indent(2, blank=true)|lines | indent('> ', first=true)|'' | indent(first=true)|l | batch(2) | list|l | batch(2, 0) | list|'foo bar baz qux' | truncate(9)|'foo bar baz qux' | truncate(9, true)|'foo bar baz qux' | truncate(11)|'foo bar baz qux' | truncate(11, false, '...', 0)|'foo bar, baz' | wordcount|'%s-%s' | format('a', 1)|'%(x)s' | format(x=1)|'ab' | center(6) ~ '|'|people[0] | attr('name')|s | attr('upper')
d | tojson|tools | tojson|tools | tojson(indent=2)|tools | tojson(indent=4)|nested | tojson|nested | tojson(indent=1)|u | tojson|u | tojson(ensure_ascii=true)|q | tojson|q|[q]|[u]|{'k': q}|[1.0, 1e100, 1e16, true, none, 'x'] | tojson|{} | tojson|[] | tojson(indent=2)|{} | tojson(indent=2)|d | tojson(sort_keys=true)|{'b': 1, 'a': 2} | tojson(separators=(',', ':'))|{1: 2, none: 3, true: 4, 1.5: 5} | tojson|(1, 2) | tojson|undefined_name | tojson|range(3) | tojson|'nan' | float | tojson|'\u007f\u2028</script>' | tojson|l | tojson(indent='\t')
'\n\t\\\'\"\x41\u00e9\U0001F642\101\q'|"a\
b"|[1, 2, 3,]|{'a': 1,}|(1, 2,)|{'a': {'b': [1, {'c': 2}]}}|{'a': 1}['a']|[1, 2][0]|'abc'[1]|{'a': 1}.a|(s | lower).split()[0]|(n + 1) | string|n + 1 | string|-1 | abs|not n == 7|not (n == 7)|n == 7 and s is string or no|s is string and n is number|'a' if n > 5 else 'b' if n > 3 else 'c'|[n if yes else m]|l | map('string') | join('+')|[[1, 2], [3]] | map('length') | list|[[1, 2], [3]] | map('first') | list|namespace(a=1).a|namespace({'a': 2}).a|namespace(a=1)|dict(a=1, b=2)|dict([('a', 1)])|dict({'x': 1}, y=2)
d.update({'x': 1})|l.append(1)|l.append|d.pop('b')|l.index(1)|l.count(1)|l.index(9)|undefined_name.x|undefined_name['x']|undefined_name()|undefined_name + 1|'a' + 1|1 + 'a'|1 / 0|1 // 0|1 % 0|1 < 'a'|undefined_name < 1|undefined_name == undefined_name|undefined_name == none|undefined_name ~ 'x'|n()|none()|n | first|1 in 5|1 in 'abc'|-s|range(1000000)|raise_exception('no: ' ~ n)|joiner(', ')()|s.__class__|d.__class__.x|'abc'.encode|d[l]|[l][0][1]|messages[0].role|messages[-1]['content']|messages | length|messages[1:] | map(attribute='role') | join(',')|messages | selectattr('role', 'equalto', 'user') | list | last|(messages | selectattr('role', 'equalto', 'zz')) and 'truthy'|messages | map(attribute='content') | map('trim') | list
""".strip("\n")

TEMPLATES = [
    "", "\n", "plain", "plain\n", "plain\n\n", "a\r\nb\rc\n", "{{ s }}\n", "{{ s }}\n\n", "{{s}}{{n}}", "{{- s -}}", "  {{ s }}  ", "  {{- s -}}  x", "a {{- s }} b", "a {{ s -}} b", "a\n\n{{- s -}}\n\nb", "{{ '{{' }}", "{{ {'a': {'b': 1}}['a']['b'] }}", "{{ {'a': {'b': {}}} }}",
    "{# c #}x", "a{# c #}b", "a\n{# c #}\nb", "a\n  {# c #}\nb", "a {#- c -#} b", "a\n  {#+ c #}\nb", "{# {{ x }} {% if %} #}y", "{#-#}x", "{#\nlong\n#}\nx", "{# a +#}\nx", "{{ 1 }}{# c #}\n{{ 2 }}",
    "{% if yes %}a{% endif %}", "{% if yes %}\na\n{% endif %}\nb", "  {% if yes %}\n  a\n  {% endif %}\n  b", "{%- if yes -%}\n a \n{%- endif -%}\n b", "{%+ if yes %}x{% endif +%}\ny", "x\n  {%+ if yes %}\n  a\n  {%+ endif %}\nb", "x {% if yes %} a {% endif %} y", "x\t{% if yes %}\t\na{% endif %}", "  {% if yes %}a{% endif %}", "{{ s }}  {% if yes %}a{% endif %}", "{{ s }}\n  {% if yes %}a{% endif %}", "{% if yes %}\n\n\na\n\n{% endif %}\n\nb", "{% if yes %}  {% endif %}|", "{% if yes %}\n  {{ s }}\n{% endif %}", "\t {%- if yes %} a {%- endif %} ",
    "{% if no %}a{% elif n == 7 %}b{% else %}c{% endif %}", "{% if no %}a{% elif no %}b{% elif no %}d{% else %}c{% endif %}", "{% if no %}a{% elif yes %}b{% endif %}!", "{% if undefined_name %}a{% else %}b{% endif %}", "{% if nothing is none and (yes or no) %}a{% endif %}", "{% if messages[0].role == 'system' %}S{% if yes %}T{% endif %}{% endif %}", "{% if no %}{% if yes %}a{% else %}b{% endif %}{% else %}{% if no %}c{% else %}d{% endif %}{% endif %}",
    "{% for x in l %}{{ x }},{% endfor %}", "{% for x in l %}\n{{ x }}\n{% endfor %}\n", "{% for x in [] %}a{% else %}none{% endfor %}", "{% for x in l if x > 1 %}{{ x }}{{ loop.index }}/{{ loop.length }}{{ loop.last }} {% endfor %}", "{% for x in l if x > 9 %}a{% else %}b{% endfor %}", "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }};{% endfor %}",
    "{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}", "{% for x in l %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }} {% endfor %}", "{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for x in [1, 1, 2] %}{{ loop.changed(x) }}{% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}", "{% for k, v in d | items %}{{ k }}{% endfor %}", "{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}", "{% for c in 'aü' %}[{{ c }}]{% endfor %}", "{% for x in undefined_name %}a{% else %}e{% endfor %}", "{% for x in none %}a{% endfor %}", "{% for x in 5 %}a{% endfor %}", "{% for x in l %}{% for y in l %}{{ loop.index }}{% endfor %}{{ loop.index }}|{% endfor %}", "{% for x in l %}{% for y in [] %}{% else %}{{ loop.index }}{% endfor %}{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}!", "{% for x in l %}{% for y in l %}{% if y == 1 %}{% break %}{% endif %}{{ y }}{% endfor %};{% endfor %}", "{% for x in l %}{{ x }}{% endfor %}{{ x }}", "{% for x in messages %}{% set c = x.content | trim %}{{ c }}{% endfor %}{{ c }}", "{% set t = 0 %}{% for x in l %}{% set t = t + x %}{{ t }} {% endfor %}{{ t }}", "{% for x in range(3) %}{{ x }}{% endfor %}", "{% for x in messages[::-1] %}{{ x.role }} {% endfor %}", "{% for x in l | sort %}{{ x }}{% endfor %}", "{% for x in 1, 2 %}{{ x }}{% endfor %}", "{{ loop }}", "{% for a in l %}{{ loop is defined }}{% endfor %}{{ loop is defined }}", "{% set g = l | select('odd') %}{% for x in g %}{{ x }}{% endfor %}|{% for x in g %}{{ x }}{% endfor %}", "{% set g = l | map('string') %}{{ g | first }}{{ g | join }}",
    "{% set x = 1 %}{{ x }}", "{% set x, y = 1, 2 %}{{ x }}{{ y }}", "{% set x = 1, 2 %}{{ x }}", "{% set x = [1] + [2] %}{{ x }}", "{% set x %}a{{ n }}b{% endset %}{{ x }}|{{ x | length }}", "{% set x | upper %}a{{ s }}b{% endset %}{{ x }}", "{% set x | replace('a', 'b') | trim %} aa {% endset %}[{{ x }}]", "{% if yes %}{% set x = 5 %}{% endif %}{{ x }}", "{% if no %}{% set x = 5 %}{% endif %}{{ x }}|{{ x is defined }}", "{{ x }}{% set x = 1 %}{{ x }}", "{% set messages = messages[1:] %}{{ messages | length }}", "{% set x = undefined_name %}{{ x is defined }}", "{% set x = 1 -%}\n\n  y", "{% set ns = namespace(a=0) %}{% for x in l %}{% set ns.a = ns.a + x %}{% endfor %}{{ ns.a }}", "{% set ns = namespace() %}{% set ns.x = [] %}{% set ns.x = ns.x + [1] %}{{ ns.x }}{{ ns.y is defined }}{{ ns.y }}", "{% set ns = namespace(found=false) %}{% for m in messages %}{% if m.role == 'assistant' %}{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.found }}", "{% set d.x = 1 %}", "{% set zz.x = 1 %}", "{% set ns = namespace(a=1) %}{{ ns['a'] }}{% set ns.b %}block{% endset %}{{ ns.b }}",
    "{% macro f(a, b=2, c=b) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ f(1) }}|{{ f(1, 3) }}|{{ f(1, c=9) }}|{{ f(b=5, a=4) }}|{{ f() }}", "{% macro f() %}\n  x\n{% endmacro %}[{{ f() }}]", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(z=2) }}", "{% macro f(a) %}{{ varargs }}{{ kwargs }}{{ a }}{% endmacro %}{{ f(1, 2, 3, x=4) }}", "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}", "{% macro f() %}{{ s }}{{ x }}{% endmacro %}{% set x = 1 %}{{ f() }}{% set x = 2 %}{{ f() }}", "{% macro f(x) %}{% set y = x * 2 %}{{ y }}{% endmacro %}{{ f(2) }}{{ y }}", "{% macro f() %}<{{ caller() }}>{% endmacro %}{% call f() %}in{{ n }}{% endcall %}", "{% macro f(l) %}{% for x in l %}{{ caller(x) }}{% endfor %}{% endmacro %}{% call(x) f(l) %}[{{ x }}]{% endcall %}", "{% macro f() %}{{ caller is defined }}{% endmacro %}{{ f() }}", "{{ f(1) }}{% macro f(a) %}{{ a }}{% endmacro %}", "{% macro f(a) %}{{ a | upper }}{% endmacro %}{{ f('x') | lower }}{{ f('y') + 'z' }}{{ f is callable }}{{ f.name }}", "{% macro f(*a) %}{% endmacro %}", "{% macro f(a=1, b) %}{% endmacro %}", "{% macro f(a, b) %}{{ a }}-{{ b }}{% endmacro %}{{ f(*[1, 2]) }}{{ f(**{'a': 3, 'b': 4}) }}", "{% macro f(a) %}{{ a is defined }}{% endmacro %}{{ f() }}{{ f(none) }}", "{%- macro render(t) -%}{%- if t is mapping -%}{ {%- for k, v in t.items() -%}{{ k }}:{{ render(v) }}{%- if not loop.last -%}, {% endif -%}{%- endfor -%} }{%- elif t is string -%}{{ t }}{%- elif t is iterable -%}[{%- for v in t -%}{{ render(v) }}{%- endfor -%}]{%- else -%}{{ t }}{%- endif -%}{%- endmacro -%}{{ render(tools) }}",
    "{% filter upper %}a{{ s }}b{% endfilter %}", "{% filter replace('l', 'L') | trim %} {{ s }} {% endfilter %}", "{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% with %}{% set z = 1 %}{{ z }}{% endwith %}{{ z }}", "{% raw %}{{ x }}{% if %}{% endraw %}", "a\n  {% raw %}\n {{ x }} \n  {% endraw %}\nb", "{%- raw -%} {{ x }} {%- endraw -%} y", "{% raw %}{# c #}{% endraw %}", "{% print s %}", "{% generation %}a{{ n }}{% endgeneration %}", "{% for m in messages %}{{ m.role }}:{% generation %}{{ m.content }}{% set w = 1 %}{% endgeneration %}{{ w }};{% endfor %}", "{% generation -%}\n a\n{%- endgeneration %}\nb", "{{ joiner }}" if False else "{% set j = joiner(', ') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}",
    "{{ raise_exception('stop here') }}", "{% if no %}{{ raise_exception('no') }}{% endif %}fine", "{{ strftime_now('%%') }}", "{{ strftime_now('x') }}", "{{ strftime_now('%Y') | length }}", "{{ bos_token + messages[0]['role'] + eos_token }}", "{{ messages[0]['role'] == 'system' and messages[1].content | trim == 'Hi' }}", "{{ 'a' if messages | length > 2 and not tools is none else 'b' }}", "{{ tools is not none and tools }}", "{{ 'x' if not no and not nothing else 'y' }}", "{{ (messages | first).content }}", "{{ messages[0]['content'].split('.')[0] + '!' }}",
    "{{ '</think>' in 'a</think>b' }}{{ 'a</think>b'.split('</think>')[-1].lstrip('\\n') }}", "{%- for m in messages %}\n    {%- if m.role == 'user' %}\n        {{- '<|user|>\\n' + m.content + '<|end|>\\n' }}\n    {%- elif m.role == 'assistant' %}\n        {{- '<|assistant|>\\n' + m.content + '<|end|>\\n' }}\n    {%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|assistant|>\\n' }}\n{%- endif %}\n",
    # Refused when read.
    "{{ }}", "{{ 1 + }}", "{% if %}a{% endif %}", "{% if yes %}", "{% endif %}", "{% for x l %}{% endfor %}", "{{ 'abc }}", "{{ (1 }}", "{{ 1) }}", "{{ [1 }}", "{% nope %}", "{{ s | nope }}", "{{ s is nope }}", "{% set %}", "{% set x %}a", "{{ a b }}", "{# open", "{% raw %}x", "{{ x.", "{{ s. }}", "{% for x in l %}{% endif %}", "{% break %}", "{% macro %}{% endmacro %}", "{% call s %}{% endcall %}", "{{ $ }}", "{{ 1 | }}", "{% set 1 = 2 %}", "{% set true = 2 %}", "{{ f(a=1, 2) }}", "{{ x is string is string }}", "{% else %}", "{% if yes %}a{% else %}b{% else %}c{% endif %}", "{{ 'a' 1 }}", "{{ {1} }}", "{{ {'a' 1} }}", "{% if yes %}{{ s }", "{{ s }", "{% include 'x' %}" if False else "{{ s !}}",
]


def split_expressions():
    """Lines of expressions with bars between; a bar inside of brackets or quotes, or with spaces around it, is no border."""
    found = []
    for line in EXPRESSIONS.replace("\\\nb\"", "\\\\NEWLINE\\\\b\"").split("\n"):
        current, quote, depth = "", "", 0
        for i, c in enumerate(line):
            if quote:
                quote = "" if c == quote and line[i - 1] != "\\" else quote
            elif c in "'\"":
                quote = c
            elif c in "([{":
                depth += 1
            elif c in ")]}":
                depth -= 1
            if c == "|" and not quote and depth == 0 and not (line[i - 1] == " " and line[i + 1: i + 2] == " "):
                found.append(current)
                current = ""
            else:
                current += c
        found.append(current)
    return [e.replace("\\\\NEWLINE\\\\b", "\\\nb") for e in found]


def cases():
    return ["{{ " + e + " }}" for e in split_expressions()] + TEMPLATES


def rendered(template, variables):
    """{"text"} or {"error"} as transformers has it."""
    try:
        text = _compile_jinja_template(template).render(**variables)
    except Exception as e:  # whatever Python says
        return {"error": f"{type(e).__name__}: {e}"}
    # An address in memory is no value to compare.
    return {"text": text} if " at 0x" not in text else {"skip": True}


GENERATION = """{%- for message in messages %}{%- if message.role == 'assistant' %}{{- '<|im_start|>assistant\\n' }}{% generation %}{{- message.content + '<|im_end|>' }}{% endgeneration %}{{- '\\n' }}{%- else %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
CHATML = GENERATION.replace("{% generation %}", "").replace("{% endgeneration %}", "")
CONVERSATIONS = [
    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello, how can I help?"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": "Blue."}, {"role": "user", "content": "Another?"},
     {"role": "assistant", "content": "Red ä 你好 🙂."}],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "  x \n"}, {"role": "user", "content": "b"}, {"role": "assistant", "content": ""}, {"role": "user", "content": "c"}],
    [{"role": "user", "content": "code"}, {"role": "assistant", "content": "def f(x):\n    return x ** 2\n"}, {"role": "assistant", "content": "twice"}],
]


def conversation_rows(folder):
    """Ids and masks: from the template's generation blocks where it has them, else every turn from behind the generation prompt of the
    conversation before it up to the end of the conversation with it, without white space behind the end-of-turn token."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = []
    for name, template in (("generation", GENERATION), ("chatml", CHATML), ("minimind", tokenizer.chat_template)):
        for messages in CONVERSATIONS:
            if name == "generation":
                out = tokenizer.apply_chat_template(messages, chat_template=template, return_dict=True, return_assistant_tokens_mask=True)
                ids, mask = list(out["input_ids"]), list(out["assistant_masks"])
            else:
                render = lambda part, prompt: tokenizer.apply_chat_template(part, chat_template=template, tokenize=False, add_generation_prompt=prompt)
                text = render(messages, False)
                encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
                ids, mask = encoded["input_ids"], [0] * len(encoded["input_ids"])
                assert list(ids) == list(tokenizer.apply_chat_template(messages, chat_template=template, return_dict=True)["input_ids"])
                for k, message in enumerate(messages):
                    if message["role"] != "assistant":
                        continue
                    before, until = render(messages[:k], True), render(messages[: k + 1], False).rstrip()
                    assert text.startswith(before) and text.startswith(until), (name, k)
                    for t, (begin, end) in enumerate(encoded["offset_mapping"]):
                        if end > len(before) and begin < len(until):  # as transformers marks what overlaps
                            mask[t] = 1
            rows.append({"name": name, "template": template, "messages": messages, "ids": list(ids), "mask": mask})
    return rows


def main():
    rows = []
    for template in cases():
        result = rendered(template, json.loads(json.dumps(VARIABLES)))
        if "skip" not in result:
            rows.append({"template": template, **result})
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({"variables": VARIABLES, "rows": rows}, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    shared = sys.argv[1] if len(sys.argv) > 1 else OUT.parents[4] / "shared/data/tokenizers/minimind"
    conversations = conversation_rows(shared)
    target = OUT.parents[2] / "data/golden/conversations.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(conversations, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(conversations)} conversations")
    print(f"{len(rows)} rows, {sum('error' in r for r in rows)} of them refused")


if __name__ == "__main__":
    main()
