"""Rules of word formation against the grapheme-to-phoneme model, on words that the model has not seen.

    python benchmarks/pronunciations.py cmudict.dict

Each held-out word is taken out of the dictionary alone and derived from the rest by the rules; the model
answers from the spelling. A first answer that is one of the dictionary's pronunciations is right. Then the
model's speed on the same words.
"""

import argparse
import time

import torch

from asr.g2p import load_g2p, nbest
from asr.g2p.training import split_dictionary
from asr.lexicon import WordRules, read_dictionary


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dictionary")
    parser.add_argument("--g2p", default="en")
    arguments = parser.parse_args()

    dictionary = read_dictionary(arguments.dictionary)
    model = load_g2p(arguments.g2p)
    training = model.config.training
    _, held = split_dictionary(dictionary, training.held_out, training.seed)
    started = time.perf_counter()
    answers = {word: best[0][0] for word, best in nbest(model, held).items()}
    seconds = time.perf_counter() - started

    rules = WordRules(dictionary)  # it looks words up when asked, so one can be hidden from it
    derived = {}
    for word, pronunciations in held.items():
        del dictionary[word]
        if found := rules(word):
            derived[word] = found[0]
        dictionary[word] = pronunciations

    def right(hypotheses: dict[str, tuple[str, ...]], words: list[str]) -> float:
        return 100 * sum(hypotheses[word] in held[word] for word in words) / len(words)

    both, others = list(derived), [word for word in held if word not in derived]
    print(f"{len(held)} held-out words: model right on {right(answers, list(held)):.1f} %")
    print(
        f"{len(both)} that a rule derives: rules right on {right(derived, both):.1f} %, "
        f"model on {right(answers, both):.1f} %"
    )
    print(f"{len(others)} others: model right on {right(answers, others):.1f} %")
    combined = right(answers | derived, list(held))
    print(f"rules first, then the model: {combined:.1f} %")
    print(f"speed of the model: {len(held) / seconds:.0f} words/s, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
