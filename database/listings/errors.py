"""What a person reads of an error at a glance."""

from __future__ import annotations

#: Of the attempt `l`: the first line of its error, the last one of a traceback.
GIST = r"""
    left(CASE WHEN l.error LIKE 'Traceback%' THEN (regexp_match(rtrim(l.error, E' \n'), '[^\n]*$'))[1]
              ELSE (regexp_match(ltrim(l.error, E' \n'), '^[^\n]*'))[1] END, 1000)
"""
