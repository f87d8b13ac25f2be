"""The rules: stable ids, one line each on what is broken and how to mend it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. The hundreds digit names its layer: 0 audit, 1 static, 2 properties, 3 empirical, 4 replay, 5 run."""

    id: str
    title: str
    why: str
    remedy: str


_ALL = (
    Rule(
        "DPA001",
        "a check of dpaudit crashed",
        "A check that crashed has shown nothing.",
        "Report it with the report.json; the verdict cannot be used.",
    ),
    Rule(
        "DPA002",
        "two layers contradict each other",
        "A measured value outside a proved bound means that dpaudit is wrong.",
        "Report it with the report.json; the verdict cannot be used.",
    ),
    Rule(
        "DPA011",
        "the mechanism cannot be loaded",
        "Code that does not load cannot be examined.",
        "Give a Python file that defines class DPMechanism, or name the class as PATH::ClassName.",
    ),
    Rule(
        "DPA012",
        "the mechanism raised an exception",
        "A run that ends in an exception releases nothing that could be accounted for.",
        "Mend the exception; the finding quotes it with its line.",
    ),
    Rule(
        "DPA013",
        "the mechanism did not return",
        "It ran past the time or memory limit, or ended its process.",
        "Remove the loop, exit or allocation at the quoted place, or raise the limit.",
    ),
    Rule(
        "DPA014",
        "the released update is malformed",
        "Wrong count, shape or type, or a value that is not finite.",
        "Return one finite tensor per parameter, in the parameter's own shape.",
    ),
    Rule(
        "DPA015",
        "the reported sigma is not a usable number",
        "The accountant needs a finite, non-negative noise multiplier for every step.",
        "Return a float from get_effective_sigma for every step.",
    ),
    Rule(
        "DPA016",
        "imports beyond the benchmark's",
        "The published benchmark gives a submission torch, math, numpy and scipy.optimize only.",
        "Drop the import, or do not submit it there.",
    ),
    Rule(
        "DPA101",
        "a private value is released without noise",
        "Whatever is released exactly can be read back.",
        "Add Gaussian noise to every coordinate that leaves the step.",
    ),
    Rule(
        "DPA102",
        "the contribution of one sample has no bound",
        "Without a bound on one sample no amount of noise is enough.",
        "Clip or normalise the whole per-sample gradient before it is summed.",
    ),
    Rule(
        "DPA103",
        "samples mix before they are bounded",
        "A threshold or statistic of the batch makes one sample's effect depend on the others.",
        "Bound every sample by its own gradient and public numbers only; release statistics with noise.",
    ),
    Rule(
        "DPA104",
        "the scale of the noise depends on private data",
        "The scale of the noise is itself an un-noised release.",
        "Make the noise scale public, or compute it from released values.",
    ),
    Rule(
        "DPA105",
        "noise is used more than once",
        "Differences of values that share noise reveal the data.",
        "Draw fresh noise for every released coordinate.",
    ),
    Rule(
        "DPA106",
        "private data or noise is kept between steps",
        "Later releases then depend on this step's data in a way that no per-step accounting covers.",
        "Keep released values only.",
    ),
    Rule(
        "DPA107",
        "control flow or a shape depends on private data",
        "Which branch was taken is itself a release.",
        "Decide on one sample's own values only, or with torch.where.",
    ),
    Rule(
        "DPA108",
        "the realised batch size is used as a number",
        "Under Poisson sampling the number of rows is private.",
        "Use the batch size that the constructor got.",
    ),
    Rule(
        "DPA109",
        "an operation outside the verified set",
        "Nothing is proved about an operation that the analysis does not know.",
        "Write it with operations listed in docs/static.md.",
    ),
    Rule(
        "DPA110",
        "a private or released value escapes",
        "What becomes text, a plain number or foreign memory cannot be followed.",
        "Keep values in tensors, or in numbers made by .item().",
    ),
    Rule(
        "DPA111",
        "what was proved at a small shape need not hold at the real one",
        "A number or a decision depends on sizes in a way that could not be carried over.",
        "Do not branch on sizes or count rows; write the operation for whole tensors.",
    ),
    Rule(
        "DPA112",
        "randomness that is not watched, not Gaussian or reseeded",
        "Only fresh Gaussian draws of torch's or NumPy's own generator earn credit.",
        "Draw noise with torch.randn_like or torch.normal, and never set a seed.",
    ),
    Rule(
        "DPA113",
        "private values or noise in half precision",
        "Rounding after the clip can exceed the bound by up to 0.4 %; coarse noise shows the low digits of what it is added to.",
        "Convert to float32 before clipping, and draw noise in it; round what is released.",
    ),
    Rule(
        "DPA114",
        "the analysis ran out of its limits",
        "Too many paths, expressions or seconds: nothing was proved.",
        "Simplify the mechanism, or raise the time limit.",
    ),
    Rule(
        "DPA115",
        "exceptions are swallowed",
        "A handler that hides errors can hide what the analysis would have seen.",
        "Catch the narrow exception that is expected, or none.",
    ),
    Rule(
        "DPA116",
        "a construct outside the verified subset of Python",
        "Threads, exec, eval, ctypes and inspection of the stack or the interpreter can change what runs.",
        "Remove it from the mechanism.",
    ),
    Rule(
        "DPA117",
        "the mechanism failed under analysis",
        "It raised an exception or returned something that is not an update.",
        "Run it on small tensors and mend the quoted error.",
    ),
    Rule(
        "DPA118",
        "a law of real numbers is used that float32 does not keep",
        "Terms cancel, a value is divided by itself, or a factor is out of range: what is computed is not what the formula says.",
        "Leave out the detour: add and take off nothing large, divide nothing by itself, keep factors near 1.",
    ),
    Rule(
        "DPA201",
        "a contribution exceeds the bound that the noise is scaled for",
        "The sensitivity is larger than the noise assumes.",
        "Clip the whole per-sample contribution to the bound, jointly over all layers, or scale the noise up.",
    ),
    Rule(
        "DPA202",
        "the noise or a threshold moves with private data",
        "The scale of the noise is itself an un-noised release.",
        "Make the schedule public, or release the statistic with noise and charge it.",
    ),
    Rule(
        "DPA203",
        "private state leaves a step without noise",
        "Raw data of one step reaches later releases, which no per-step accounting covers.",
        "Keep only released (noised) values between steps.",
    ),
    Rule(
        "DPA204",
        "a released direction carries no fresh Gaussian noise",
        "Whatever moves without noise is released exactly.",
        "Draw noise for every coordinate of every parameter at every step.",
    ),
    Rule(
        "DPA205",
        "noise is reused",
        "Differences of releases that share noise reveal the data exactly.",
        "Draw fresh noise from a running generator; never reseed inside the mechanism.",
    ),
    Rule(
        "DPA206",
        "private data meets randomness that is not Gaussian",
        "No credit is given for it, so nothing is proved about it.",
        "Use Gaussian noise, or give the mechanism's own analysis.",
    ),
    Rule(
        "DPA207",
        "the noise could not be read",
        "The update is not an affine function of the noise, or randomness escaped the tape.",
        "Keep the noise additive before any non-linear post-processing.",
    ),
    Rule(
        "DPA208",
        "the update is divided by the realised batch size",
        "Under Poisson sampling the number of rows is private.",
        "Divide by the public batch size given to the constructor.",
    ),
    Rule(
        "DPA209",
        "a non-finite gradient passes through",
        "One NaN or Inf row makes the release reveal its presence.",
        "Set rows that are not finite to zero before clipping.",
    ),
    Rule(
        "DPA210",
        "the mechanism changes its input",
        "Gradients that are written in place are no longer what the caller computed them to be.",
        "Work on copies: g * w instead of g.mul_(w).",
    ),
    Rule(
        "DPA211",
        "the release depends on the order of the rows",
        "Rows have no order that the analysis knows of; one that matters is a second, unexamined input.",
        "Sum over the rows; group samples by public facts only.",
    ),
    Rule(
        "DPA212",
        "an empty batch is not released like any other",
        "Under Poisson sampling a batch can be empty; a crash or a release without noise shows that it was.",
        "Return noise alone, in the parameters' shapes, when there are no rows.",
    ),
    Rule(
        "DPA213",
        "rounding or overflow lets a contribution through the clip",
        "A norm that overflows, or a value rounded after the clip, exceeds the bound that the noise is scaled for.",
        "Compute norms, factors and sums in float32 or wider, and clip last.",
    ),
    Rule(
        "DPA214",
        "the noise is not independent Gaussian noise of the stated scale",
        "Every accountant of this audit assumes Gaussian noise; bounded noise reveals a row whatever its scale.",
        "Add unclamped Gaussian noise, drawn afresh for every coordinate and step.",
    ),
    Rule(
        "DPA215",
        "a part of the mechanism has no effect on the update",
        "What is declared is not what trains: it is computed and thrown away.",
        "Use its result in the release, or remove it.",
    ),
    Rule(
        "DPA216",
        "a finite gradient makes the release non-finite",
        "A norm that overflows to infinity, or 0/0, reveals the row, and no guard against NaN and Inf rows removes it.",
        "Compute the clipping factor so that it stays finite: min(1, C / norm) with the norm bounded away from 0.",
    ),
    Rule(
        "DPA217",
        "the mechanism behaves otherwise when nothing watches it",
        "What was read of it under observation is then not what trains.",
        "Remove whatever looks at modes, patched functions, frames or its surroundings.",
    ),
    Rule(
        "DPA218",
        "the claimed privacy events disagree with what was measured",
        "A claim is the author's own account; where the running code does otherwise it accounts for another mechanism.",
        "State the events that the code really makes (docs/mechanism-interface.md), or change the code.",
    ),
    Rule(
        "DPA219",
        "a row of zeros changes the release",
        "Rows of zeros stand for absent ones where batches are padded; one that contributes also counts the rows.",
        "Weigh the gradient itself, so that a zero gradient contributes zero; subtract no constant before the clip.",
    ),
    Rule(
        "DPA220",
        "whether an update is released depends on private data",
        "An update that is withheld, zeroed or repeated for one row and not without it is an event that no noise hides.",
        "Decide by released (noised) values alone, or release every update.",
    ),
    Rule(
        "DPA301",
        "an attack refutes the claim",
        "Counted successes of an attack are impossible, at the stated level, for a mechanism that keeps the claimed budget.",
        "Raise the noise until the declared schedule costs the target, and see which setup the attack used.",
    ),
    Rule(
        "DPA401",
        "the claim's accountant is invalid for the event that it assumes",
        "The formula is used where it does not hold, so the claimed epsilon is not one.",
        "Calibrate with an accountant that is valid for the sampler: dpaudit calibrate.",
    ),
    Rule(
        "DPA402",
        "what ran is not what the accountant assumes",
        "Amplification by Poisson sampling does not apply to shuffled or fixed batches.",
        "Sample as the accountant assumes, or account for what ran.",
    ),
    Rule(
        "DPA403",
        "the reported sigma exceeds the measured one",
        "The accountant was told of more noise than was added.",
        "Report the noise that the step really adds, or add what is reported.",
    ),
    Rule(
        "DPA404",
        "what ran costs more than the target",
        "The measured schedule, replayed from one demonstrated pair of neighbours, exceeds the budget.",
        "Multiply the noise by the honest factor in the report.",
    ),
    Rule(
        "DPA405",
        "the reported schedule costs more than the target",
        "By its own account the mechanism overspends.",
        "Raise the noise, lower the steps, or claim the epsilon that is spent.",
    ),
    Rule(
        "DPA406",
        "the reported sigma is below the measured one",
        "More noise is added than is claimed: private, but accuracy is given away.",
        "Report the measured sigma, or lower the noise to the reported one.",
    ),
    Rule(
        "DPA407",
        "the ledger disagrees with the probe",
        "The training run did not do what the probe saw.",
        "Remove whatever makes the mechanism behave differently when it trains.",
    ),
    Rule(
        "DPA408",
        "a release or a choice that nobody charged",
        "Everything that left the run and depended on private data is part of what was spent, charged or not.",
        "Tell the accountant of every release, of steps that were thrown away and of every candidate that was tried.",
    ),
    Rule(
        "DPA501",
        "the training run failed",
        "No accuracy and no ledger came back.",
        "See the quoted error; run dpaudit train to reproduce it.",
    ),
    Rule(
        "DPA502",
        "rows that are not finite were guarded",
        "The harness zeroed them; outside this harness the mechanism needs its own guard.",
        "Guard inside the mechanism, or keep the harness's guard on.",
    ),
    Rule(
        "DPA503",
        "one example's gradient depends on another, or is wrong",
        "The clip bounds what one example contributes only if an example's gradient is its own.",
        "Replace the layer that mixes examples (batch norm: group norm), untie shared parameters, mend the gradient's formula.",
    ),
    Rule(
        "DPA504",
        "the optimiser applies another gradient than the released one",
        "What trains is then not what was clipped and noised.",
        "Step without a closure that recomputes gradients, and write to no gradient between release and step.",
    ),
)

RULES: dict[str, Rule] = {rule.id: rule for rule in _ALL}
