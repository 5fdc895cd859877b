"""Grammars whose masks take long: nobody else's step waits for them."""

from __future__ import annotations

from loadtests.trials.attacks.attack import NATIVE, Attack, Run, completion, posts

NUMBER = 5

AMBIGUOUS = """root ::= e
e ::= e e | e [a-z] e | [a-z ] | "(" e ")" | e " " e
"""
NULLABLE = """root ::= (a b)*
a ::= [a-z]* b
b ::= " "* a | [a-z ]*
"""
LAYERS = """root ::= s s s s s s s s
s ::= t | t t | t t t | s t
t ::= [a-z] | [a-z ] | [a-y] | [b-z] | t t
"""
DANGLING = """root ::= i
i ::= "a" i | "a" i "b" i | [a-z ] i | [a-z ]
"""
PALINDROMES = """root ::= p p
p ::= [a-z ] | [a-z ] p [a-z ] | p p
"""
COUNTED = 'root ::= (" "? [a-zA-Z]{1,300} " "?){1,300}'
NEGATED = "root ::= [^Z]*"


def _masked(grammar: str, times: int = 1, **fields: object) -> Run:
    body = completion(
        grammar=grammar, n_predict=200, ignore_eos=True, temperature=1.0, seed=1, **fields
    )
    return posts(NATIVE, body, times)


ATTACKS = (
    Attack(NUMBER, "the ambiguous grammar", _masked(AMBIGUOUS)),
    Attack(NUMBER, "the ambiguous grammar, n 4", _masked(AMBIGUOUS, n=4)),
    Attack(
        NUMBER,
        "everything but one letter, with 4,000 biases",
        _masked(NEGATED, 4, logit_bias=[[token, 1.0] for token in range(4000)]),
    ),
    Attack(NUMBER, "rules that can be empty", _masked(NULLABLE, 4)),
    Attack(NUMBER, "layers of choices", _masked(LAYERS, 4)),
    Attack(NUMBER, "the dangling else", _masked(DANGLING, 4)),
    Attack(NUMBER, "palindromes", _masked(PALINDROMES, 4)),
    Attack(NUMBER, "counts within counts", _masked(COUNTED, 4)),
    Attack(
        NUMBER,
        "the ambiguous grammar, with lookup and probabilities",
        _masked(AMBIGUOUS, 4, n_probs=100, speculative={"n_max": 16}),
    ),
)
