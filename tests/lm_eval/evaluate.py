"""Runs the lm-evaluation-harness, as it is, on tasks in files: over HTTP with its own class local-completions, or in
this process with the class of python/muninn. Prints one JSON object: for each task its metrics and, in the order of the
file, what the model answered to each request.

usage: evaluate.py TASKS_DIR over-http URL BEGIN_TOKEN | in-process MODEL_DIR NUM_STEPS"""
import json
import sys

from lm_eval import simple_evaluate
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

TASKS = ['sort_choice', 'sort_words', 'sort_text', 'sort_rolling']


def model(how, where, *more):
    """And arguments for it: the ways in which a user of the harness names a model."""
    if how == 'over-http':  # with the begin token's id: the harness takes 0, were it named by the server, for none
        return 'local-completions', {'base_url': f'{where}/v1/completions', 'model': 'raven-tiny', 'max_length': 512,
                                     'num_concurrent': 3, 'max_retries': 1, 'batch_size': 2,
                                     'custom_prefix_token_id': int(more[0])}
    import muninn.lm_eval
    lm = muninn.lm_eval.MuninnLM(where, num_steps=int(more[0]))
    assert isinstance(lm, LM)
    from lm_eval.api.registry import get_model
    assert get_model('muninn') is muninn.lm_eval.MuninnLM
    return lm, None


tasks, *which = sys.argv[1:]
name, arguments = model(*which)
found = simple_evaluate(model=name, model_args=arguments, tasks=TASKS, log_samples=True, bootstrap_iters=0,
                        task_manager=TaskManager(include_path=tasks, include_defaults=False))
answers = {}
for task in TASKS:
    samples = sorted(found['samples'][task], key=lambda sample: sample['doc_id'])
    answers[task] = {'metrics': found['results'][task], 'answers': [sample['filtered_resps'] for sample in samples],
                     'arguments': [sample['arguments'] for sample in samples]}
print(json.dumps(answers, default=str))
