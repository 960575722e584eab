"""What is said to show that one listens, and what is said to take the floor. Pure."""

from __future__ import annotations

import random


def _split(text: str) -> tuple[str, ...]:
    return tuple(" ".join(phrase.split()) for phrase in text.split("|"))


BACKCHANNELS = _split(
    """mm-hm|mm hmm|mhm|mmm|mm|hmm|hm|uh-huh|uh huh|aha|ah|oh|ooh|yeah|yeah yeah|yep|
    yup|yes|yes yes|okay|ok|okay okay|right|right right|i see|oh i see|sure|sure sure|
    alright|all right|of course|got it|i get it|i know|wow|oh wow|really|oh really|great|
    good|very good|fine|nice|true|that's true|that is true|exactly|indeed|interesting|
    cool|oh yeah|ah okay|oh okay|uh-huh yeah|mm okay|makes sense|go on|i understand|
    understood|absolutely|definitely|perfect|wonderful|ha|haha|huh|oh my|no way|you bet|
    totally|fair enough|oh no|yeah right|okay good|i think so|me too|amazing|correct|
    lovely|hmm okay|mhm mhm|that's nice|good to know|i bet|no kidding|how nice|oh dear|ah i
    see|yeah sure|yeah okay|right okay|uh huh okay|okay right|mm yes|yes of course|very
    nice|sounds good|good point|oh good|oh great|oh nice|great great|i hear you|that's
    interesting|that's great|that's good|that makes sense|ah right|oh right|mm-hm mm-hm|uh
    huh uh huh|hm okay|yeah yeah yeah|that's right|that is right|you're right|yeah exactly|
    yeah i know|wow really|oh sure"""
)
COMMON = _split(
    """mm-hm|mm-hm|mm hmm|mhm|mm|hmm|uh-huh|uh-huh|uh huh|aha|aha|ah ha|ahah|ah|oh|oh|ooh|yeah|yeah|
    yep|yes|okay|okay|right|i see|sure|sure|of course|wow|wow|wow oh|really|true|that's true|that is true|
    all right|got it|exactly|great|good|fine"""
)
"""What is said most to show that one listens, in calls as in this list; said more often."""
SHORT = _split(
    """stop|stop it|stop please|please stop|stop talking|stop now|okay stop|wait|wait wait|
    wait a minute|wait a second|wait a moment|hold on|hold on a second|hold on please|hang on|
    hang on a minute|excuse me|sorry|sorry to interrupt|no|no no|no no no|no wait|no stop|
    enough|that's enough|that is enough|thank you|quiet please|be quiet|shut up|cancel|
    cancel that|never mind|forget it|listen|hey|hello|pardon|sorry what|what|what did you
    say|one moment|one second|just a second|just a minute|let me speak|may i interrupt|can i
    say something|i have a question|i want something else|that is wrong|not that|another
    question|go back|repeat that|say that again|again please|start over|slower please|speak
    up|louder please|skip this|skip that|next|next one|move on|good bye|bye|help|help me|
    who are you|who is this|who's that|what's that|what is this|why not|why is that|how come|
    how so|how long|how much|how far|since when|where to|where is it|when was that|which
    one|what else|what now|what time|what day|no thanks|no thank you|not now|not yet|i
    disagree|that's wrong|wrong|too fast|too loud|too long|slow down|speed up|come on|
    quiet|silence|pause|pause there|repeat please|repeat|say again|come again|one question|
    question|quick question|actually|but|but why|but how|however|look|hey you|hi|hello
    there|are you there|can you hear me|hear me out|let me finish|let me think|give me a
    second|hold it|hold that|halt|freeze|abort|quit|end call|hang up|i'm done|we're done|
    skip|skip it|back|previous|forward|less|louder|quieter|faster|slower|shorter please|
    change it|change that|something else|the other one|the first|the second|number two|number
    five|seven|twelve|tomorrow|today|tonight|monday|call me|call me back|text me|i need
    help|operator|a human please|in english|in german|my turn|listen to me|excuse me please|
    pardon me|sorry sorry|wait please|stop right there|stop there|stop that|please wait|
    please hold|please listen|goodbye now|bye bye|later|never|nonsense|not true|that's not
    true|that's not right|i don't know|i don't care|i don't understand|i can't hear you|what
    do you mean|tell me why|show me|read it again|again|once more|start again|open it|close
    it|turn it off|turn it down|play music|set a timer|what's the time|how are you|are you
    sure|who said that|where are you|what are you|is it raining|do it again|give it to me|
    take it back|send it|cancel it|i want two|i need one|my order|my name|the price|the
    date|how old|how many|what for|what if|and you|and then|or not|or what|if not|so what|
    then what|no i|yes but|yeah but"""
)
"""Less than 1.3 s in most voices."""
URGENT = _split(
    """stop|stop it|stop please|please stop|stop talking|wait|wait wait|wait a minute|wait a
    second|hold on|hang on|excuse me|no|no no|no wait|sorry|enough|that's enough|that is
    enough|help|help me|listen|be quiet|cancel|never mind|what|why|who|how|pardon|hello|thank
    you|next|again|skip|louder|goodbye|who are you|what is that|not that|one moment|can i"""
)
"""The shortest, and those it matters most to hear: said more often."""
ORDINARY = _split(
    """zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|
    fifteen|sixteen|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|
    ninety|hundred|thousand|million|half|double|first|second|third|last|monday|tuesday|wednesday|
    thursday|friday|saturday|sunday|january|february|march|april|may|june|july|august|september|
    october|november|december|spring|summer|autumn|winter|morning|noon|afternoon|evening|night|
    midnight|today|tomorrow|yesterday|weekend|minute|hour|week|month|year|london|paris|berlin|
    boston|chicago|dallas|denver|seattle|tokyo|madrid|rome|vienna|texas|england|germany|france|
    spain|china|canada|anna|david|emma|george|james|john|julia|karen|laura|linda|maria|mark|
    martin|michael|oliver|paul|peter|robert|sarah|simon|smith|susan|thomas|miller|brown|green|
    black|white|red|blue|yellow|orange|purple|grey|pink|silver|gold|apple|bread|butter|cheese|
    chicken|chocolate|coffee|dinner|breakfast|lunch|fish|fruit|garlic|honey|lemon|milk|onion|
    pasta|pepper|pizza|potato|rice|salad|salt|soup|sugar|tea|tomato|water|wine|beer|bottle|account|
    address|airport|appointment|bank|bill|birthday|booking|camera|card|cash|cheque|computer|
    contract|customer|delivery|deposit|discount|doctor|dollars|door|email|engine|euros|extension|
    family|father|mother|brother|sister|daughter|son|husband|wife|friends|flight|garage|garden|
    hospital|hotel|house|insurance|internet|invoice|key|kitchen|laptop|letter|machine|mailbox|
    manager|market|meeting|message|money|mortgage|music|name|neighbour|number|office|order|
    paper|parcel|parking|passport|password|payment|pharmacy|phone|picture|police|price|printer|
    problem|radio|receipt|record|refund|rent|repair|restaurant|room|salary|school|screen|
    service|shop|station|street|student|support|system|table|tablet|taxi|teacher|television|
    ticket|train|transfer|travel|university|vacation|video|village|visa|window|winter coat|world|
    add|added|answer|ask|begin|bring|build|buy|carry|change|check|choose|clean|close|collect|
    confirm|copy|delete|deliver|drive|enter|exit|finish|fix|follow|forward|hear|hold|increase|
    invite|join|keep|leave|look|lower|make|mute|need|pay|press|print|push|raise|read|record|
    remove|reply|report|reserve|return|save|search|sell|send|share|sign|sleep|speak|spell|
    start|switch|take|talk|teach|think|translate|try|turn|unlock|update|upgrade|walk|want|wash|
    watch|work|write|angry|big|bigger|broken|cheap|cheaper|cold|dark|different|difficult|early|
    empty|expensive|fast|full|happy|heavy|hot|hungry|important|large|late|left|light|long|low|lost|
    medium|middle|missing|near|new|old|open|outside|private|quick|sad|short|single|small|soft|
    strange|strong|tall|thin|tired|under|urgent|warm|weak|wet|wide|young|above|after|always|
    anything|before|behind|below|between|both|downstairs|either|everything|inside|maybe|
    neither|nobody|none|nothing|often|once|only|people|perhaps|probably|sometimes|somebody|
    soon|still|there|together|twice|upstairs|usually|without|asterisk|dash|dot|hash|plus|
    minus|percent|point|pound|space|star|underscore|two five|three seven|four four|nine one|six zero|
    to london|from berlin|on friday|at seven|at noon|in may|for two|for four people|with milk|no sugar|
    my mother|my phone|the kitchen|the second|a hotel|by train|by card|in cash|half past|ten minutes"""
)
"""Words that answer a question, and none that listeners say: whoever says one over the agent means it."""
OPENINGS = _split(
    """what|where is|when is|who is|why is|how do|which|can you|can i|could you|would you|do
    you have|is there|are you|have you|may i|tell me|show me|give me|find|call|book|
    order|change|please|i want|i need|i would like|i meant|my|the other|this is|you said|
    actually|but|but what|and|so|no i meant|well|yes but|yeah so|okay but|right but|sure
    but|oh and|hey can you|let's|just|first|turn off|play|read|spell|add|open"""
)
OBJECTS = _split(
    """the weather|the time|my order|my bill|the price|the train|a table|a taxi|seven plus
    five|the meeting|the first one|another|your name|the capital|on monday|in the evening|it
    to me|one more|the invoice|my account|someone|something different|the blue one|the
    address|that again|tomorrow|this week|here|later|the number|a joke|the news|my balance|
    the second part"""
)


def backchannels(thrown: random.Random, count: int) -> list[str]:
    """`count` phrases that only show that one listens: half of them of the most common."""
    made = [thrown.choice(COMMON) for _ in range(count // 2)]
    return made + [thrown.choice(BACKCHANNELS) for _ in range(count - len(made))]


def answers(thrown: random.Random, count: int) -> list[str]:
    """`count` words or short phrases that answer a question."""
    return [thrown.choice(ORDINARY) for _ in range(count)]


def floor_takers(thrown: random.Random, count: int) -> list[str]:
    """`count` phrases that take the floor: two fifths put together by chance, one fifth urgent."""
    made = [f"{thrown.choice(OPENINGS)} {thrown.choice(OBJECTS)}" for _ in range(2 * count // 5)]
    made += [thrown.choice(URGENT) for _ in range(count // 5)]
    return made + [thrown.choice(SHORT) for _ in range(count - len(made))]
