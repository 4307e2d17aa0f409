"""TRL's preference losses as functions of log-probabilities. It is TRL's own code that runs: methods are called where they take
log-probabilities, and where a trainer's method goes from the model to the metrics, the statements that compute the loss are
cut out of its source (by the names that they assign) and executed. Nothing of TRL is written down here.

Written for TRL 1.16; a version whose code has other names fails with a KeyError or StopIteration, never silently.
"""
import ast
import functools
import inspect
import textwrap
from types import SimpleNamespace

import torch
from trl.experimental.cpo import cpo_trainer
from trl.experimental.online_dpo import online_dpo_trainer
from trl.experimental.orpo import orpo_trainer
from trl.experimental.tpo import tpo_trainer
from trl.trainer import dpo_trainer, kto_trainer

CPU = SimpleNamespace(device="cpu", gather_for_metrics=lambda x: x)


def assigned(statement: ast.stmt) -> set[str]:
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


@functools.cache
def statements(method, *ranges: tuple[str, str]):
    """The top-level statements of a method from the first that assigns one name to the first from there on that assigns another."""
    body, kept, end = ast.parse(textwrap.dedent(inspect.getsource(method))).body[0].body, [], 0
    for first, last in ranges:
        begin = next(i for i in range(end, len(body)) if first in assigned(body[i]))
        end = next(i for i in range(begin, len(body)) if last in assigned(body[i])) + 1
        kept += body[begin:end]
    return compile(ast.Module(kept, []), f"<{method.__qualname__}>", "exec")


def execute(code, module, **variables):
    scope = vars(module) | variables
    exec(code, scope)
    return scope


def dpo(options: dict, chosen, rejected, ref_chosen, ref_rejected, *, code_from="chosen_logratios", **variables):
    """The statements of `DPOTrainer._compute_loss` from the log-ratios (or earlier, with the tokens) to the mean loss."""
    self = SimpleNamespace(**{"beta": 0.1, "label_smoothing": 0.0, "loss_types": ["sigmoid"], "loss_weights": [1.0],
                              "f_divergence_type": "reverse_kl", "f_alpha_divergence_coef": 0.5, "use_weighting": False,
                              "ld_alpha": None, "precompute_ref_logps": True, "args": SimpleNamespace(discopop_tau=0.05),
                              "accelerator": CPU} | options)
    code = statements(dpo_trainer.DPOTrainer._compute_loss, (code_from, "per_sequence_loss"))
    return execute(code, dpo_trainer, self=self, chosen_logps=chosen, rejected_logps=rejected, ref_chosen_logps=ref_chosen,
                   ref_rejected_logps=ref_rejected, device="cpu",
                   inputs={"ref_chosen_logps": ref_chosen, "ref_rejected_logps": ref_rejected}, **variables)["loss"]


def kto(options: dict, log_prob, ref_log_prob, desirable, kl_log_prob, kl_ref_log_prob):
    """The statements of `KTOTrainer._compute_loss` from the labels to the terms, and the mean."""
    self = SimpleNamespace(**{"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0, "loss_type": "kto",
                              "calculate_KL": True, "precompute_ref_logps": True, "accelerator": CPU} | options)
    code = statements(kto_trainer.KTOTrainer._compute_loss, ("bool_labels", "losses"), ("loss", "loss"))
    batch = {"label": desirable, "ref_logps": ref_log_prob, "ref_KL_logps": kl_ref_log_prob}
    return execute(code, kto_trainer, self=self, batch=batch, completion_logps=log_prob, KL_logps=kl_log_prob,
                   device="cpu")["loss"]


def batch_loss(trainer, self, method: str, chosen, rejected, negative_log_likelihood):
    """`get_batch_loss_metrics` of the trainers that have it, with a forward pass that gives these log-probabilities."""
    zero = torch.zeros(1)
    self.concatenated_forward = lambda model, batch: (chosen, rejected, zero, zero, negative_log_likelihood)
    setattr(self, method, functools.partial(getattr(trainer, method), self))
    return trainer.get_batch_loss_metrics(self, None, {})[0]


def cpo(options: dict, chosen, rejected, negative_log_likelihood):
    self = SimpleNamespace(**{"beta": 0.1, "label_smoothing": 0.0, "loss_type": "sigmoid", "alpha": 0.0, "simpo_gamma": 0.5,
                              "cpo_alpha": 1.0, "aux_loss_enabled": False, "accelerator": CPU} | options)
    return batch_loss(cpo_trainer.CPOTrainer, self, "cpo_loss", chosen, rejected, negative_log_likelihood)


def orpo(options: dict, chosen, rejected, negative_log_likelihood):
    self = SimpleNamespace(**{"beta": 0.1, "aux_loss_enabled": False, "accelerator": CPU} | options)
    return batch_loss(orpo_trainer.ORPOTrainer, self, "odds_ratio_loss", chosen, rejected, negative_log_likelihood)


def tpo(options: dict, per_token_logps, shift_completion_mask):
    """The statements of `TPOTrainer._compute_loss` from the tokens to the mean loss, without its term of gold answers."""
    self = SimpleNamespace(**{"beta": 0.1, "label_smoothing": 0.0, "loss_type": "sigmoid", "tpo_l_gamma": 0.5} | options)
    code = statements(tpo_trainer.TPOTrainer._compute_loss, ("completion_lengths", "per_sequence_loss"), ("loss", "loss"))
    return execute(code, tpo_trainer, self=self, per_token_logps=per_token_logps, n_branches=2,
                   shift_completion_mask=shift_completion_mask)["loss"]


def online_dpo(options: dict, chosen, rejected, ref_chosen, ref_rejected):
    """The statements of `OnlineDPOTrainer.training_step` from the log-ratios to the mean loss."""
    self = SimpleNamespace(beta=options.get("beta", 0.1), args=SimpleNamespace(loss_type=options.get("loss_type", "sigmoid")))
    code = statements(online_dpo_trainer.OnlineDPOTrainer.training_step, ("pi_logratios", "ref_logratios"),
                      ("logits", "logits"), ("losses", "losses"), ("loss", "loss"))
    return execute(code, online_dpo_trainer, self=self, chosen_logprobs_sum=chosen, rejected_logprobs_sum=rejected,
                   chosen_ref_logprobs_sum=ref_chosen, rejected_ref_logprobs_sum=ref_rejected)["loss"]
