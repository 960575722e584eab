"""Two short lists of English in JSGF: what one says to show that one listens, and to take the floor. Pure.

They are for the ear of a recogniser: pocketsphinx tells which of them a short utterance is nearer to. Words
must be in its dictionary. The lexicon that decides on words is in `actors/evidence.py`.
"""

from __future__ import annotations

BACKCHANNELS = """#JSGF V1.0; grammar backchannel;
<sound> = mhm | mm hm | hmm | hm | mm | uh huh | uh | huh | ha | ha ha | aha | ah | oh | ooh;
<word> = yeah | yep | yup | yes | okay | right | sure | alright | wow | whoa | really | great | good | fine
  | nice | true | exactly | indeed | interesting | cool | absolutely | definitely | perfect | wonderful
  | correct | amazing | lovely | totally | understood;
<phrase> = i see | all right | of course | got it | i get it | i know | very good | that's true
  | that is true | that's right | that is right | go on | i understand | fair enough | makes sense
  | i think so | me too | you bet;
<first> = <sound> | yeah | okay | right | yes | sure | all right;
public <said> = <sound> | <word> | <phrase> | <first> <sound> | <first> <word> | <first> <phrase>;
"""

COMMANDS = """#JSGF V1.0; grammar command;
<stop> = stop | stop it | stop please | please stop | stop talking | wait | wait a minute | wait a second
  | wait a moment | hold on | hang on | hang on a second | excuse me | sorry | no | no no | no wait
  | enough | that's enough | that is enough | thank you | thanks | be quiet | quiet | shut up | cancel
  | never mind | forget it | listen | hey | hello | pardon | one moment | one second | just a second
  | just a minute | goodbye | good bye | help | help me;
<ask> = what | why | who | where | when | how | which | let me | may i | can i | can you | could you
  | do you | is it | is there | are you | tell me | give me | i want | i need | i have a question
  | who are you | what is that | what did you say | repeat that | say that again | again | slower
  | louder | skip | skip this | next | next one | move on | go back | start over
  | not that | actually;
public <said> = <stop> [<stop>] [please] | <ask> [<ask>] [please];
"""
